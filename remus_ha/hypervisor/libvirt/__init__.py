"""Guests that libvirt manages: their definition while they are protected, and their adoption.

libvirt's own words are used: a *definition* is a domain's persistent configuration, a domain
without one is *transient*.
"""
