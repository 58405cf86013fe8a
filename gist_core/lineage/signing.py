"""Signs statements with an SSH key, as git signs commits (`ssh-keygen -Y`, SSHSIG).

Signatures are in `data/signatures/STAGE.json.sig`, which git keeps: DVC's outs stay the same bytes, signed or not.
Who may sign is listed in an allowed-signers file (see ssh-keygen(1), ALLOWED SIGNERS):
`data/signatures/allowed_signers`, or better one kept outside the repository."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

NAMESPACE = "gist-statement"
FOLDER = Path("data/signatures")
ALLOWED_SIGNERS = FOLDER / "allowed_signers"
NOT_SIGNED = "it is not signed"


def sign(statement: Path, key: Path, signature: Path) -> None:
    """Signs a statement with a private key (or a public one whose private half an SSH agent holds).

    Raises:
        ValueError: the key cannot be used; the message is ssh-keygen's.
    """
    done = _ssh_keygen("-Y", "sign", "-f", str(key), "-n", NAMESPACE, data=statement.read_bytes())
    if done.returncode != 0:
        raise ValueError(f"{statement.name} cannot be signed with {key}: {done.stderr.decode().strip()}")
    signature.parent.mkdir(parents=True, exist_ok=True)
    signature.write_bytes(done.stdout)


def signature_problem(statement: bytes, signature: Path, allowed_signers: Path) -> str | None:
    """Why a signature is not an allowed signer's signature of these bytes; None if it is."""
    if not signature.exists():
        return NOT_SIGNED
    found = _ssh_keygen("-Y", "find-principals", "-s", str(signature), "-f", str(allowed_signers))
    signers = found.stdout.decode().split()
    if found.returncode != 0 or not signers:
        return f"it is signed with a key that {allowed_signers.name} does not allow"
    options = ("-f", str(allowed_signers), "-I", signers[0], "-n", NAMESPACE, "-s", str(signature))
    done = _ssh_keygen("-Y", "verify", *options, data=statement)
    return None if done.returncode == 0 else f"the signature of {signers[0]} does not fit its bytes"


def signature_problems(
    root: Path, statements: Mapping[str, bytes | None], allowed_signers: Path
) -> Iterator[tuple[str, str]]:
    """(statement, problem) of every statement that has no valid signature. statements: bytes by path below `root`; None
    for one that is nowhere here. Its signature must be here all the same, because git keeps it."""
    for path, data in sorted(statements.items()):
        signature = root / FOLDER / f"{PurePosixPath(path).name}.sig"
        if data is not None:
            problem = signature_problem(data, signature, allowed_signers)
        else:
            problem = None if signature.exists() else NOT_SIGNED
        if problem:
            yield path, problem


def _ssh_keygen(*arguments: str, data: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(["ssh-keygen", *arguments], input=data, capture_output=True, check=False)
    except FileNotFoundError:
        raise ValueError("ssh-keygen is not installed; signatures need it (package openssh-client)") from None
