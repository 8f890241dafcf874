"""Imported by the template process alone, by name: the fork server can import a module, but cannot call a function."""

from deployments.warm_template import preload

preload()
