"""Paths, and the names that the original broker's examples and conf/dev.yml use."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MATRIARCH_BUILD", ROOT / "build"))
MATRIARCH = BUILD / "matriarch"
CONFIGURATIONS = pathlib.Path(os.environ.get("MATRIARCH_CONFIGURATIONS", ROOT / "conf"))

SERVICE = "beb5973c-e1b2-11e5-a736-c7c0b526363d"
PLAN = "b96d0936-e423-11e5-accb-93d374e93368"
USERNAME = PASSWORD = "starkandwayne"
API_VERSION = "2.17"
