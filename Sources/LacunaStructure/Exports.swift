// Types of these rooms are in the interface of this one: importing it is enough to use it.
@_exported import LacunaRegress
