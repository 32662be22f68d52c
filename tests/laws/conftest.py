"""A law may take its time on a busy machine; what fails is printed so that it can be run again."""

from hypothesis import settings

settings.register_profile("laws", deadline=None, print_blob=True)
settings.load_profile("laws")
