"""Webhooks that we send: signed, tried again, and never into somebody's own network."""
