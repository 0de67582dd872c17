"""Tags the wheel: any Python 3, this machine's kind of Linux, for the library inside is called through ctypes."""

import os

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel


class PlatformWheel(bdist_wheel):
    """A wheel for every Python 3 on one platform."""

    def get_tag(self):
        return "py3", "none", os.environ.get("LACUNA_PLATFORM", "linux_x86_64")


class BinaryDistribution(Distribution):
    """One with a library in it."""

    def has_ext_modules(self):
        return True


setup(cmdclass={"bdist_wheel": PlatformWheel}, distclass=BinaryDistribution)
