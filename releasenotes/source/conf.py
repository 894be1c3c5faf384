"""How the release notes are built from releasenotes/notes."""

project = "remus_ha release notes"
author = "remus_ha developers"
copyright = author
extensions = ["reno.sphinxext"]
html_theme = "alabaster"
html_show_copyright = False
