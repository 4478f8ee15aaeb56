"""One request to a flask application through its test client, as a health check or a test does."""
from flask.testing import FlaskClient

from flask_app import app


def check(client: FlaskClient) -> int:
    response = client.get("/stock/gear?times=2")
    print(response.status)
    print(response.content_type)
    print(response.get_data(as_text=True), end="")
    return 0 if response.status_code == 200 else 1


if __name__ == "__main__":
    raise SystemExit(check(app.test_client()))
