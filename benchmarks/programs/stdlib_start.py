"""What this Python's event loop, SSL and SQLite are, as one line of JSON: four imports, then next to nothing."""
import asyncio
import json
import sqlite3
import ssl


def main():
    print(json.dumps({
        "event_loop": asyncio.SelectorEventLoop.__name__,
        "openssl": ssl.OPENSSL_VERSION,
        "sqlite": sqlite3.sqlite_version,
    }))


if __name__ == "__main__":
    main()
