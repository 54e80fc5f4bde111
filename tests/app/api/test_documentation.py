import re

from starlette.testclient import TestClient


def test_the_description_comes_with_all_that_it_loads(client: TestClient) -> None:
    page = client.get("/api/docs")
    assert page.status_code == 200
    loaded = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
    assert len(loaded) == 3
    for address in loaded:
        assert address.startswith("/api/docs/assets/"), "nothing from elsewhere"
        assert client.get(address).status_code == 200
    assert client.get("/api/openapi.json").json()["info"]["title"] == "framewatch"
