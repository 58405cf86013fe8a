"""Signing with a real SSH key: `verify` accepts what was signed and names what was not."""

import shutil
import subprocess
from pathlib import Path

import pytest

from cli.dvc_project import cache_of, declared_outs
from gist_core.lineage import signing
from gist_core.lineage.statement import FOLDER
from gist_core.lineage.verify import verify
from tests.lineage import project

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


@pytest.fixture
def signed(toy: Path, tmp_path: Path) -> tuple[Path, Path]:
    """(project with all statements signed, allowed signers)."""
    key = _key(tmp_path / "key")
    for path in (toy / FOLDER).glob("*.json"):
        signing.sign(path, key, toy / signing.FOLDER / f"{path.name}.sig")
    signers = tmp_path / "allowed_signers"
    signers.write_text(f"auditor@example.org {key.with_suffix('.pub').read_text()}")
    return toy, signers


def test_signed_statements_verify(signed: tuple[Path, Path]) -> None:
    root, signers = signed
    assert verify(root, [cache_of(root)], declared_outs, signers=signers).findings == []
    shutil.copy(signers, root / signing.ALLOWED_SIGNERS)
    assert verify(root, [cache_of(root)], declared_outs).findings == []


def test_a_missing_a_foreign_and_a_stale_signature_are_named(signed: tuple[Path, Path], tmp_path: Path) -> None:
    root, signers = signed
    (root / signing.FOLDER / "rouge.json.sig").unlink()
    report = root / FOLDER / "report.json"
    signing.sign(report, _key(tmp_path / "other"), root / signing.FOLDER / "report.json.sig")
    shutil.copy(root / signing.FOLDER / "sources.json.sig", root / signing.FOLDER / "base_model.json.sig")
    found = {f.path: f.problem for f in verify(root, [cache_of(root)], declared_outs, signers=signers).findings}
    assert found == {
        f"{FOLDER}/rouge.json": "it is not signed",
        f"{FOLDER}/report.json": "it is signed with a key that allowed_signers does not allow",
        f"{FOLDER}/base_model.json": "the signature of auditor@example.org does not fit its bytes",
    }


def test_a_forger_who_rewrites_statement_and_lock_is_caught_by_the_signature(signed: tuple[Path, Path]) -> None:
    """Without a signature nothing holds against someone who rewrites everything consistently; with one it does."""
    root, signers = signed
    statement, lock = root / FOLDER / "report.json", root / "dvc.lock"
    old = statement.read_bytes()
    new = old.replace(b'"seed": 0', b'"seed": 1').replace(b"CPython 3", b"CPython 4")
    statement.unlink()
    statement.write_bytes(new)
    lock.write_text(lock.read_text().replace(_md5(old), _md5(new)))
    assert verify(root, [], declared_outs).findings == []
    assert [f.path for f in verify(root, [], declared_outs, signers=signers).findings] == [f"{FOLDER}/report.json"]


def test_a_signature_is_asked_of_a_statement_that_is_gone(signed: tuple[Path, Path]) -> None:
    """As in a clone before `dvc pull`, where git has brought the signatures."""
    root, signers = signed
    project.run(root, "git", "clean", "-q", "-f", "-d", "-X")
    assert verify(root, [cache_of(root)], declared_outs, signers=signers).findings == []
    (root / signing.FOLDER / "rouge.json.sig").unlink()
    found = verify(root, [cache_of(root)], declared_outs, signers=signers).findings
    assert [(f.path, f.problem) for f in found] == [(f"{FOLDER}/rouge.json", "it is not signed")]


def _key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def _md5(data: bytes) -> str:
    import hashlib

    return hashlib.md5(data, usedforsecurity=False).hexdigest()
