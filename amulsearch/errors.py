"""The errors a person can meet. Each message says what happened, to what, and what to do about it."""


class AmulsearchError(Exception):
    """Base of every error raised on purpose; the command line prints it as one line and exits with 2."""


class PictureError(AmulsearchError):
    """A picture that cannot be read; the message is the reason shown in the table of rejected pictures."""


class ModelError(AmulsearchError):
    """An unknown model or layer, or weights that are missing, damaged or of the wrong shape."""


class StoreError(AmulsearchError):
    """A store or an index on disk that is missing, damaged or made of something else than asked."""


class OtherFormatError(StoreError):
    """A store or an index that another version of amulsearch wrote in a format of its own."""


class QueryError(AmulsearchError):
    """A query, a parameter or a list of neighbours that cannot be used."""
