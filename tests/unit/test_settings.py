"""What a process is told at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.settings import SOCKET_PATH_LIMIT, ControllerSettings, InvalidSetting, controller_settings, paths

HOME = Path("/home/u")


def test_folders_follow_the_xdg_variables() -> None:
    environ = {"XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/run/user/7"}
    found = paths("shop", environ, 7, HOME)

    assert (found.state, found.runtime) == (Path("/s/gossamer/shop"), Path("/run/user/7/gossamer/shop"))
    assert found.control_socket == Path("/run/user/7/gossamer/shop/control.sock")


def test_folders_fall_back_to_the_home_and_the_uid() -> None:
    found = paths("default", {"XDG_STATE_HOME": "relative"}, 7, HOME)

    assert found.state == Path("/home/u/.local/state/gossamer/default")
    assert found.runtime == Path("/tmp/gossamer-7/default")


@pytest.mark.parametrize("mesh", ["", "../x", "A", "a" * 33, "-a", "a/b", "a\n"])
def test_a_name_that_is_no_folder_is_refused(mesh: str) -> None:
    with pytest.raises(InvalidSetting, match="--mesh"):
        paths(mesh, {}, 7, HOME)


def test_a_socket_path_that_the_kernel_cannot_take_is_refused_with_the_remedy() -> None:
    folder = "/" + "x" * (SOCKET_PATH_LIMIT - len("/gossamer/default/control.sock"))
    with pytest.raises(InvalidSetting, match="set XDG_RUNTIME_DIR to a shorter folder"):
        paths("default", {"XDG_RUNTIME_DIR": folder}, 7, HOME)

    assert paths("default", {"XDG_RUNTIME_DIR": folder[:-1]}, 7, HOME).runtime


def test_flags_are_read_in_both_forms_and_the_environment_names_the_mesh() -> None:
    found = controller_settings(
        ["--dir", "/a", "--dir=/b", "--leaf-lifetime", "5", "--default-inbound-policy=deny"], {"GOSSAMER_MESH": "shop"}
    )

    expected = ControllerSettings("shop", (Path("/a"), Path("/b")), leaf_lifetime=5.0, default_inbound_policy="deny")
    assert found == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nope", "1"], "--nope: not a flag of this program; known: --mesh, --dir"),
        (["--mesh"], "--mesh: a value is missing"),
        (["--leaf-lifetime", "0"], "--leaf-lifetime 0: expected a number of seconds from 1 to a year"),
        (["--leaf-lifetime", "nan"], "expected a number of seconds"),
        (["--default-inbound-policy", "allow"], "--default-inbound-policy allow: expected one of all-authenticated"),
        (["--trust-domain", "A b"], "--trust-domain A b: expected a domain"),
        (["--issuer-cert", "/c"], "--issuer-cert and --issuer-key belong together"),
    ],
)
def test_a_wrong_flag_is_one_line(arguments: list[str], said: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        controller_settings(arguments, {})

    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_advertised_is_an_address_that_others_reach() -> None:
    told = ["--advertise", "10.9.0.1:9000", "--advertise-range", "10.9.1.0/24", "--node", "one", "--zone", "eu-1"]
    found = controller_settings(told, {})
    place = (found.advertise, found.advertise_range, found.node, found.zone)
    assert place == ("10.9.0.1:9000", "10.9.1.0/24", "one", "eu-1")
    assert controller_settings(["--advertise", "none"], {}).advertise == "none"
    for flag, value in (
        ("--advertise", "127.0.0.1"),
        ("--advertise", "0.0.0.0"),
        ("--advertise", "10.9.0.1:0"),
        ("--advertise", "here"),
        ("--advertise-range", "10.9.1.1/24"),
        ("--advertise-range", "127.9.0.0/16"),
        ("--node", "a b"),
        ("--zone", ""),
    ):
        with pytest.raises(InvalidSetting, match=f"{flag} {value}: expected"):
            controller_settings([flag, value], {})
