"""The benches from the command line.

python -m bench list
python -m bench run NAME [flags]
python -m bench tables [--check]
"""

from __future__ import annotations

import argparse
import sys

from bench.protocol import bench_names, describe, run_bench, unused_benches


def main() -> None:
    """Do what the first word says."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="every bench, what it measures and what it takes")
    run = verbs.add_parser("run", help="run one; its flags follow its name", add_help=False)
    run.add_argument("name")
    run.add_argument("flags", nargs=argparse.REMAINDER)
    tables = verbs.add_parser("tables", help="write the measured parts of the documents")
    tables.add_argument("--check", action="store_true", help="only say whether they are current")
    args = parser.parse_args()
    if args.verb == "list":
        show_list()
    elif args.verb == "run":
        run_bench(args.name, args.flags)
    else:
        write_tables(check=args.check)


def show_list() -> None:
    """Name, what it measures, what it takes."""
    for name in bench_names():
        what, takes = describe(name)
        print(f"{name}\n    {what}\n    Takes {takes}.")


def write_tables(*, check: bool) -> None:
    """Write the documents, or exit with a message where one is out of date."""
    from bench.tables import rendered_pages  # imports every bench that a document prints

    for path, text in rendered_pages().items():
        if not check:
            path.write_text(text, encoding="utf-8")
        elif path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path.name} is out of date: run python -m bench tables")
    if unused := unused_benches():
        sys.exit(f"No document prints the figures of {', '.join(unused)}, and no test runs it.")


if __name__ == "__main__":
    main()
