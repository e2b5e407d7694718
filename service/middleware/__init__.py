"""ASGI layers that a request passes before its route: keys, limits, methods, request ids, a proxy's prefix.
Raw ASGI; nothing here knows a route's meaning, but ``plain_searches``."""
