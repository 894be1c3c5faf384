"""How the documentation is built; warnings are errors."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "remus_ha"
author = "remus_ha developers"
copyright = author
release = version = metadata.version("remus_ha")

extensions = ["command_reference", "error_reference", "state_tables"]
nitpicky = True
html_theme = "alabaster"
html_theme_options = {
    "description": "Running Xen guests survive their host",
    "page_width": "1100px",
    "sidebar_width": "240px",
}
html_show_copyright = False

man_pages = [
    ("man/remus-ha", "remus-ha", "protect running Xen guests", author, 8),
    ("man/remus-lab", "remus-lab", "two Xen hosts on one machine", author, 8),
]
man_show_urls = True
