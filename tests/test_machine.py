"""What a number was measured on."""

from __future__ import annotations

import platform

from bnas_face import __version__, machine


def test_versions_name_what_is_installed_and_leave_out_what_is_not() -> None:
    found = machine.versions(["numpy", "no-such-package"])
    assert found["bnas_face"] == __version__
    assert found["python"] == platform.python_version()
    assert "numpy" in found and "no-such-package" not in found


def test_the_processor_has_a_name() -> None:
    assert machine.cpu_name().strip()
