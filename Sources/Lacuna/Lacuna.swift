@_exported import LacunaDictionary
// The whole toolkit under one import.
@_exported import LacunaIO
@_exported import LacunaInfer
@_exported import LacunaLearn
@_exported import LacunaModels
@_exported import LacunaPrune
@_exported import LacunaRegress
@_exported import LacunaRetrieve
@_exported import LacunaSparse
@_exported import LacunaStructure
@_exported import LacunaTensor
