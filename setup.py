"""Builds the kernels of the packed engine; everything else about the package stands in setup.cfg.

Without a compiler the installation goes on and the engine runs its slow fallback.
"""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

SOURCES = Path("bnas_face/packed/kernels/src")
FLAGS = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-Wno-psabi"]


class BuildKernels(build_ext):
    """With OpenMP where the compiler has it."""

    def build_extension(self, ext: Extension) -> None:
        """Compile and link, the second time without OpenMP."""
        ext.extra_compile_args, ext.extra_link_args = [*FLAGS, "-fopenmp"], ["-fopenmp"]
        try:
            super().build_extension(ext)
        except (CompileError, LinkError):
            ext.extra_compile_args, ext.extra_link_args = list(FLAGS), []
            super().build_extension(ext)


setup(
    ext_modules=[
        Extension(
            "bnas_face.packed.kernels._kernels",
            sources=sorted(str(path) for path in SOURCES.glob("*.c")),
            depends=sorted(str(path) for path in SOURCES.glob("*.h")),
            py_limited_api=True,
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildKernels},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
