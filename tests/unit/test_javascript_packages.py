from tests.javascript import DIRECTORY, LOCK


def test_the_lock_names_no_registry() -> None:
    assert "omit-lockfile-registry-resolved=true" in (DIRECTORY / ".npmrc").read_text()
    assert "://" not in LOCK.read_text()
