"""The version, as `pip` and `deeplens --version` tell it."""

__version__ = "0.2.0.dev0"
