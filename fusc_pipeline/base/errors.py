"""What the pipeline refuses, in words a person can act on. Every message names the thing and what to do."""

import errno


class FuscError(Exception):
    """Base of every refusal. Never retried: the same input would be refused again."""


class BadInput(FuscError):
    """A file, folder or table that cannot be used as it is."""


class BadSetting(FuscError):
    """A configuration value, environment variable or key file that cannot be used as it is."""


# Of an OSError: the disk is full or read-only, so that neither waiting nor trying again would help.
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
