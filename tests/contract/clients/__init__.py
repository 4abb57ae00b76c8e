"""Clients that are programs of other people, in environments of their own."""
