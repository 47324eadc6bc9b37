from tests.serving import api, services, world

__all__ = ["api", "services", "world"]
