"""What is configured for TLS, and cannot be used."""

from pathlib import Path

import pytest

from vpopsql.config import load
from vpopsql.daemon.encryption import Certificate
from vpopsql.errors import CannotListen, ConfigError

CERTIFICATE = Path(__file__).parent.parent / "client/localhost.pem"


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    bare = tmp_path / "bare.pem"
    bare.write_text("-----BEGIN" + CERTIFICATE.read_text().split("-----BEGIN")[-1])
    config = load(None, {"VPOPSQL_DAEMON_TLS_CERTIFICATE": str(bare)})

    with pytest.raises(CannotListen, match=r"tls_certificate: cannot use .*bare\.pem: "):
        Certificate(config.daemon)


@pytest.mark.parametrize("key, value", [("TLS_LISTEN", "127.0.0.1:1"), ("TLS_KEY", "/key.pem")])
def test_tls_without_a_certificate_is_a_mistake(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=r"daemon\.tls_certificate is not"):
        load(None, {f"VPOPSQL_DAEMON_{key}": value})
