"""The REST API: the RPCs of the services for people, by HTTP."""
