"""A scenario's setup.py: its administrator and its product."""

import argparse
import os
import sys
import time

import requests

from load.common.scenarios import SCENARIOS, address
from support.edge import Edge


def main(name):
    scenario = SCENARIOS[name]
    parser = argparse.ArgumentParser(description=f"Creates what {name} needs: its account and a product with stock.")
    parser.add_argument("--host", default=address("EDGE_URL"), help="the edge (%(default)s)")
    parser.add_argument("--stock", type=int, default=int(os.environ.get("STOCK", scenario.stock)), help="(%(default)s)")
    arguments = parser.parse_args()
    try:
        create(scenario, arguments.host, arguments.stock)
    except requests.ConnectionError:
        sys.exit(f"no edge answers at {arguments.host}: is the system up (compose/local up)?")


def create(scenario, host, stock):
    admin = Edge(host).enter(scenario.admin)
    product_name = scenario.product
    if any(product["name"] == product_name for product in admin.get("/api/products").json()):
        product_name += time.strftime(" %Y-%m-%d %H:%M:%S")  # names are unique: a further run, a further product
    product = admin.create_product(product_name, stock, price=1000)
    held = admin.stock(product)
    print(f"{product_name}: id {product}, stock {held['db_stock']} in Postgres and {held['redis_stock']} on the nodes")
