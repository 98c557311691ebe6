"""A local Telegram for trying Teletrunk and for its tests: an MTProto data centre and a media reflector."""
