"""On which file system a SQLite file would lie: SQLite's locks are not to be trusted on one that several hosts share.

On a network file system two hosts can both hold "the" lock, and WAL needs memory shared between all users of the file;
the database would be damaged one day. So such a place is refused before anything is written.
"""

import re
from pathlib import Path

# types as /proc/self/mountinfo writes them; not 9p and virtiofs, by which a virtual machine sees its host's disk
_NETWORK = re.compile(
    r"(fuse\.)?(acfs|afs|beegfs|ceph|cifs|coda|davfs|fhgfs|gfs|gfs2|glusterfs|gpfs|lustre|mmfs|ncpfs|nfs[34]?|ocfs2"
    r"|orangefs|panfs|pvfs2|s3fs|smb[23]|smbfs|sshfs|wekafs)"
)
_OCTAL = re.compile(r"\\([0-7]{3})")


def file_system_of(path: Path, mountinfo: str) -> str:
    """The type of the file system that holds `path` (absolute, without links), by the text of /proc/self/mountinfo.

    Empty when no line fits. Of several mounts on the same point the last one is seen.
    """
    best, depth = "", -1
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, types = before.split(" "), after.split(" ")
        if len(fields) < 5 or not types[0]:
            continue
        mount_point = Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[4]))
        if path.is_relative_to(mount_point) and len(mount_point.parts) >= depth:
            best, depth = types[0], len(mount_point.parts)
    return best


def is_network(kind: str) -> bool:
    """Whether this type of file system is shared between hosts."""
    return _NETWORK.fullmatch(kind) is not None


def network_file_system(path: Path) -> str:
    """The type of the network file system that would hold `path`, or "" for a local one (or where Linux cannot say)."""
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    kind = file_system_of(path.resolve(), mountinfo)
    return kind if is_network(kind) else ""
