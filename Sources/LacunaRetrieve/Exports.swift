// Types of these rooms are in the interface of this one: importing it is enough to use it.
@_exported import LacunaLearn
@_exported import LacunaModels
