"""The checklist's rows, and which test each has."""

from checks import scenario

# Every row that binds a broker, and how strongly.
LEVELS = {"M": "MUST", "S": "SHOULD", "Y": "MAY"}
ROWS = {f"{group}-{number}": LEVELS[level] for group, levels in {
    "ALL": "MYYYSYMMMMMSMSSSSS",
    "CAT": "MMMSMSMMMMMMMSSMYYM",
    "PRV": "MMMMSMMMMMMMMMMSSMMMMMYMS",
    "LOP": "MMMMYMMSYMMMM",
    "GIN": "MMMMYS",
    "UPD": "MMMMMMMSMMMSMMMMMMMMY",
    "BND": "MMMSMMMMMSMMMMSMMMM",
    "GBN": "MMY",
    "BLO": "MMS",
    "UNB": "MMMMMMMM",
    "DEP": "MMMMMMMSMMM",
}.items() for number, level in enumerate(levels, 1)}

COVERED = {}  # row -> title of its test


def row(identity, what):
    """Marks the test of a row; `what` says what holds."""
    title = f"{identity}: {what}"

    def mark(function):
        assert identity in ROWS and identity not in COVERED, identity
        COVERED[identity] = title
        return scenario(title, file="conformance")(function)
    return mark


def print_rows(held=None):
    """The table of rows; with the outcome of those that were run."""
    print(f"\n{'row':<8} {'level':<7} {'test':<100} {'held' if held is not None else ''}")
    for identity, level in ROWS.items():
        title = COVERED.get(identity)
        outcome = "" if held is None else {True: "yes", False: "NO", None: "not run"}[held.get(title)]
        print(f"{identity:<8} {level:<7} {(title or ': none').split(': ', 1)[1]:<100} {outcome}")
