"""A command line tool of the standard library only: JSON in, coroutines, SQL, a certificate decoded."""
import asyncio
import json
import sqlite3
import ssl

ORDERS = """[
    {"item": "bolt", "count": 40, "price": 0.25},
    {"item": "gear", "count": 3, "price": 19.5},
    {"item": "nut", "count": 120, "price": 0.1}
]"""


CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBdzCCAR2gAwIBAgIUb2YgYSB0ZXN0LCBub3QgcmVhbCEwCgYIKoZIzj0EAwIw
-----END CERTIFICATE-----
"""


async def price(order):
    await asyncio.sleep(0)
    return order["item"], order["count"] * order["price"]


async def price_all(orders):
    return await asyncio.gather(*(price(order) for order in orders))


def store(rows):
    with sqlite3.connect(":memory:") as db:
        db.execute("create table sales (item text primary key, total real)")
        db.executemany("insert into sales values (?, ?)", rows)
        return db.execute("select count(*), sum(total), max(total) from sales").fetchone()


def main():
    count, total, largest = store(asyncio.run(price_all(json.loads(ORDERS))))
    report = {"orders": count, "total": total, "largest": largest, "der": len(ssl.PEM_cert_to_DER_cert(CERTIFICATE))}
    print(json.dumps(report, sort_keys=True))


if __name__ == "__main__":
    main()
