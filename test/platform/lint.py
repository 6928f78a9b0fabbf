#!/usr/bin/python3
"""Compiles every Python program of the tree without running it, and checks the rules for folders."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def python_files():
    for path in sorted(ROOT.joinpath("test").rglob("*")):
        if path.is_file() and (path.suffix == ".py" or path.open("rb").read(30).startswith(b"#!/usr/bin/python3")):
            yield path


def main():
    held = True
    for path in python_files():
        try:
            compile(path.read_bytes(), str(path), "exec")
        except SyntaxError as error:
            print(f"{path}:{error.lineno}: {error.msg}")
            held = False
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if len(line) > 120 or line != line.rstrip() or "\t" in line:
                print(f"{path}:{number}: longer than 120 columns, a tab, or white space at the end")
                held = False
    for check in ("include_check", "wall_check"):
        if subprocess.run([sys.executable, ROOT / "test/unit" / check]).returncode != 0:
            held = False
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
