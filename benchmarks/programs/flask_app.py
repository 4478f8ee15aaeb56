"""The application that flask_prog.py talks to."""
from flask import Flask, jsonify, request

app = Flask(__name__)

STOCK = {"bolt": 40, "gear": 3, "nut": 120}


@app.get("/stock/<item>")
def stock(item):
    if item not in STOCK:
        return jsonify(error="no such item"), 404
    return jsonify(item=item, count=STOCK[item] * request.args.get("times", 1, type=int))
