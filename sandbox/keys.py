"""The key pair that signs events, as SendGrid does (ECDSA P-256), and Sendmode's HMAC."""

import base64
import hashlib
import hmac
import os
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def ensure_keypair(home: Path) -> str:
    """The public key (base64 DER SPKI) of the pair under `home`; made at the first call, private part mode 0600."""
    path = home / "webhook_key.pem"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
    public = load_private_key(home).public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def load_private_key(home: Path) -> ec.EllipticCurvePrivateKey:
    loaded = serialization.load_pem_private_key((home / "webhook_key.pem").read_bytes(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return loaded


def sign_events(key: ec.EllipticCurvePrivateKey, timestamp: str, body: bytes) -> str:
    """`X-Twilio-Email-Event-Webhook-Signature`: base64 DER over timestamp + raw body."""
    return base64.b64encode(key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()


def sign_report(secret: str, timestamp: str, signed: bytes) -> str:
    """`X-Sendmode-Signature`: hex HMAC-SHA256 over timestamp + raw body, or the raw query string of a GET."""
    return hmac.new(secret.encode(), timestamp.encode() + signed, hashlib.sha256).hexdigest()
