"""Tools without a mesh word in them. Nothing here may import any other part of Gossamer."""
