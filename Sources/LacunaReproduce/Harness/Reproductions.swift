import Lacuna

/// Every reproduction, by name and by number.
public enum Reproductions {
    /// All of them, in order of paper number.
    public static let all: [any Reproduction] = [
        RandomSupportsReproduction(),
        LDPSparseReproduction(),
        RobustToPrivateReproduction(),
        SparseWorldModelsReproduction(),
        AdaptiveTestingReproduction(),
        AdaptiveEvaluationReproduction(),
        DSLReproduction(),
        InformationScreeningReproduction(),
        KroneckerSBLReproduction(),
        RandomSearchReproduction(),
        CoordinatewiseSketchingReproduction(),
        RSparseReproduction(),
        SparseBanditsReproduction(),
        UnifiedLSRReproduction(),
        CASTReproduction(),
        InferenceFreeLSRReproduction(),
        IsolatedSubnetworksReproduction(),
        CoSpaDiReproduction(),
        SparseFrontierReproduction(),
        SparseByteNNReproduction(),
        ProgressiveGradientFlowReproduction(),
        DSnoTReproduction(),
        SparseIFTReproduction(),
        AdaptiveAllocationReproduction(),
        SparselandReproduction(),
        ProductSearchReproduction(),
        AbsTopKReproduction(),
        RandomPruningReproduction(),
        SparseModelSoupsReproduction(),
        GradientDictionariesReproduction(),
        SparseyReproduction(),
        QuickSelectionReproduction(),
        SquareHeadReproduction(),
        SparseKernelsReproduction(),
        SparseUnlearningReproduction(),
        ProbabilisticBarsReproduction(),
        BeyondL1Reproduction(),
        AverageParametersReproduction(),
        PSTReproduction(),
        SLTrainReproduction(),
        SparseTransportReproduction(),
        SparsingLawReproduction(),
        OptimalSparsityReproduction(),
        SiriusReproduction(),
        ProSparseReproduction(),
        SHARPReproduction(),
        SparkReproduction(),
        MustafarReproduction(),
        CrosscodersReproduction(),
        SparseRNNsReproduction(),
        GTSPReproduction(),
        MaskLLMReproduction(),
        BlockFFNReproduction(),
        ALISAReproduction(),
        EssentialSparsityReproduction(),
        PQIndexReproduction(),
        DSEEReproduction(),
        GQSAReproduction(),
        LazyNeuronReproduction(),
        CATSReproduction(),
        GPUSQViTReproduction(),
        CodebookFeaturesReproduction(),
        RetrievalPretrainingReproduction(),
        MonetReproduction(),
        PrincipledEvaluationReproduction(),
        FastSparseConvNetsReproduction(),
        AttentionDictionariesReproduction(),
        ActiveMultitaskReproduction(),
        SeerAttentionReproduction(),
        SparsePretrainingReproduction(),
        SMASHReproduction(),
        SparseThenPruneReproduction(),
        SAEDarkMatterReproduction(),
        GroupEnvelopeReproduction(),
        SeismicReproduction(),
        CFSPReproduction(),
        SRSTEReproduction(),
        FeedbackInterpolationReproduction(),
        SparseJEPAReproduction(),
        S2FTReproduction(),
        WeLoreReproduction(),
        StructuralSimilarityReproduction(),
        LOSTReproduction(),
        CoLiDEReproduction(),
        BlockCoordinateDescentReproduction(),
        ARMORReproduction(),
        WINAReproduction(),
        BDWPReproduction(),
        LatentLabelShiftReproduction(),
    ]

    /// Finds a reproduction by short name (in any case) or by paper number.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` with the names there are.
    public static func find(_ name: String) throws -> any Reproduction {
        let wanted = name.lowercased()
        if let found = all.first(where: { $0.shortName.lowercased() == wanted || String($0.paper) == wanted }) {
            return found
        }
        let names = all.map { "\($0.shortName) (\($0.paper))" }.joined(separator: ", ")
        throw LacunaError.invalidArgument(
            "name",
            reason: "there is no reproduction '\(name)'; there are \(names)"
                + Suggestion.phrase(name, among: all.map(\.shortName)))
    }
}
