"""What can be wrong with a machine, each as one sentence; None when all is well.

Standard library only: it is asked before anything is installed.
"""

import os
import shutil
import socket

NEEDED_MB = 300


def port_sentence(bind, port):
    """Whether the web server could listen there."""
    if not str(port).isdigit() or not 0 < int(port) < 65536:
        return f"PORT must be a number from 1 to 65535, not {port!r}."
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, int(port)))
            probe.listen(1)
        except PermissionError:
            return f"Port {port} needs rights that this user does not have; choose another, such as: make up PORT=8080"
        except OSError as error:
            if error.errno == 98 or "in use" in str(error):
                return f"Port {port} is in use by another program; choose another, such as: make up PORT={_free(port)}"
            return f"Cannot listen on {bind}, port {port}: {error.strerror}."
    return None


def _free(port):
    """A port near that one that is free just now."""
    for candidate in range(int(port) + 1, 65536):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
        return candidate
    return 8080


def folder_sentence(folder):
    """Whether DATA_DIR can be written, or made, and has room."""
    existing = folder = os.path.abspath(folder)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        return f"DATA_DIR: {existing} is not a folder."
    if not os.access(existing, os.W_OK | os.X_OK):
        return (
            f"DATA_DIR: {folder} is not writable for this user; choose another folder, "
            "such as: DATA_DIR=~/journey-data make up"
        )
    free = shutil.disk_usage(existing).free // 2**20
    if free < NEEDED_MB:
        return (
            f"There is not enough disk space for DATA_DIR: {free} MB are free in {existing}, "
            f"and at least {NEEDED_MB} MB are needed."
        )
    return None
