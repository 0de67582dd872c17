import LacunaIO
import LacunaTensor

/// Which members of a `config.json` are read, which say nothing about what a model computes, and that all others are
/// refused: a setting that is ignored is a model that is wrong without a word.
enum HuggingFaceSettings {
    /// Written by transformers, training scripts and exporters; no part of the arithmetic.
    private static let harmless: Set<String> = [
        "architectures", "attention_dropout", "auto_map", "bad_words_ids", "begin_suppress_tokens", "bos_token_id",
        "cache_implementation", "chunk_size_feed_forward", "cross_attention_hidden_size", "decoder_start_token_id",
        "diversity_penalty", "do_sample", "dtype", "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id",
        "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "id2label",
        "initializer_range", "is_decoder", "is_encoder_decoder", "is_llama_config", "label2id", "lacuna",
        "length_penalty",
        "max_length", "min_length", "model_max_length", "model_type", "no_repeat_ngram_size", "num_beam_groups",
        "num_beams", "num_return_sequences", "output_attentions", "output_hidden_states", "output_scores",
        "pad_token_id", "prefix", "problem_type", "pruned_heads", "quantization_config", "remove_invalid_values",
        "repetition_penalty", "return_dict", "return_dict_in_generate", "sep_token_id", "sparsity_config",
        "suppress_tokens", "task_specific_params", "temperature", "tf_legacy_loss", "tie_encoder_decoder",
        "tokenizer_class", "top_k", "top_p", "torch_dtype", "torchscript", "transformers.js_config",
        "transformers_version", "typical_p", "unsloth_fixed", "unsloth_version", "use_bfloat16", "use_cache",
    ]

    /// Read by `TransformerConfiguration`.
    private static let read: Set<String> = [
        "attention_bias", "head_dim", "hidden_act", "hidden_activation", "hidden_size", "intermediate_size",
        "intermediate_sizes", "max_position_embeddings", "num_attention_heads", "num_hidden_layers",
        "num_key_value_heads", "rms_norm_eps", "rope_parameters", "rope_scaling", "rope_theta", "sliding_window",
        "tie_word_embeddings", "vocab_size", "mlp_bias",
    ]

    private static let ofArchitecture: [TransformerConfiguration.Architecture: Set<String>] = [
        .qwen2: ["use_sliding_window", "max_window_layers", "layer_types"],
        .qwen3: ["use_sliding_window", "max_window_layers", "layer_types"],
        .llama: ["layer_types"],
        .smollm3: [
            "use_sliding_window", "max_window_layers", "layer_types", "no_rope_layers", "no_rope_layer_interval",
        ],
        .mistral: [], .gpt2: [],
        .gemma3: ["layer_types", "query_pre_attn_scalar", "rope_local_base_freq", "sliding_window_pattern"],
    ]

    /// Settings that are understood only where they change nothing.
    private static let neutral: [String: JSONValue] = [
        "pretraining_tp": 1, "rope_interleaved": false, "use_mrope": false, "use_bidirectional_attention": false,
        "partial_rotary_factor": 1, "use_sliding_window": false, "is_causal": true, "add_cross_attention": false,
    ]

    static func requireKnown(_ fields: JSONFields, _ architecture: TransformerConfiguration.Architecture) throws {
        try requireKnown(fields, read: read.union(ofArchitecture[architecture]!), neutral: neutral)
    }

    /// - Parameters:
    ///   - read: Settings that are honoured.
    ///   - neutral: Settings that are understood with these values alone.
    /// - Throws: ``LacunaError/unsupported(file:what:)`` naming the first setting that is none of these. Null is nothing.
    static func requireKnown(_ fields: JSONFields, read: Set<String>, neutral: [String: JSONValue]) throws {
        for member in fields.object where !member.value.isNull && !member.key.hasPrefix("_") {
            let key = member.key
            if read.contains(key) || (harmless.contains(key) && neutral[key] == nil) { continue }
            // Two spellings of a number are one number.
            if let value = neutral[key] ?? Self.neutral[key] {
                let isNumber = value.doubleValue != nil && value.doubleValue == member.value.doubleValue
                if value == member.value || isNumber { continue }
            }
            throw LacunaError.unsupported(
                file: fields.file, what: "the setting '\(key)' = \(member.value.serialized())")
        }
    }
}
