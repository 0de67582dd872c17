extension InterfaceDescription {
    private static func answer(_ schema: String, _ what: String, streams: Bool = false) -> String {
        let stream =
            streams
            ? #", "text/event-stream": {"schema": {"type": "string", "description": "With 'stream': chunks, then [DONE]."}}"#
            : ""
        return
            ##""200": {"description": "\##(what)", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/\##(schema)"}}\##(stream)}}"##
    }

    private static func post(_ path: String, _ request: String, _ answer: String, _ summary: String) -> String {
        #"""
            "\#(path)": {
              "post": {
                "summary": "\#(summary)",
                "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/\#(request)"}}}},
                "responses": {
                  \#(answer),
                  \#(errors(400, 401, 404, 408, 413, 429, 503, 504))
                }
              }
            }
        """#
    }

    static let textPaths =
        [
            #"""
                "/v1/models": {"get": {"summary": "What is served.", "responses": {\#(answer("ModelList", "The models.")), \#(errors(400, 401))}}},
                "/v1/models/{name}": {
                  "get": {
                    "summary": "One of them.",
                    "parameters": [{"name": "name", "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}],
                    "responses": {\#(answer("Model", "The model.")), \#(errors(400, 401, 404))}
                  }
                },
                "/tokenizer_info": {
                  "get": {
                    "summary": "What the tokenizer is called and which tokens are special, for lm-evaluation-harness.",
                    "responses": {
                      "200": {"description": "The tokenizer.", "content": {"application/json": {"schema": {"type": "object", "required": ["tokenizer_class", "eos_token", "chat_template", "vocab_size"]}}}},
                      \#(errors(400, 401, 404))
                    }
                  }
                }
            """#,
            post(
                "/v1/completions", "CompletionRequest",
                answer("Completion", "The texts, or a stream of them.", streams: true), "Continues texts or tokens."),
            post(
                "/v1/chat/completions", "ChatRequest",
                answer("ChatCompletion", "The answers, or a stream of them.", streams: true),
                "Answers a conversation."),
            post(
                "/v1/embeddings", "EmbeddingRequest", answer("EmbeddingList", "A vector for each text."),
                "Vectors of texts."),
            post(
                "/tokenize", "TokenizeRequest", answer("Tokens", "The tokens."),
                "The tokens of a text or a conversation."
            ),
            post("/detokenize", "DetokenizeRequest", answer("Prompt", "The text."), "The text of tokens."),
        ].joined(separator: ",\n")

    /// Members that both kinds of completion take.
    private static let samplingProperties = #"""
        "model": {"type": ["string", "null"], "description": "As /v1/models calls it. Another one is a 404."},
                "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2, "description": "0 for the most probable token each time. By default what the model's authors recommend, or 1."},
                "top_p": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
                "top_k": {"type": ["integer", "null"], "minimum": -1, "description": "0 and -1 for all tokens."},
                "frequency_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2},
                "presence_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2},
                "logit_bias": {
                  "type": ["object", "null"], "maxProperties": \#(SamplingFields.mostBiases), "propertyNames": {"pattern": "^(0|[1-9][0-9]*)$"},
                  "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
                  "description": "Added to the logits of tokens of the model's."
                },
                "stop": {
                  "oneOf": [{"type": "null"}, {"type": "string", "minLength": 1}, {"type": "array", "maxItems": \#(SamplingFields.mostStops), "items": {"type": "string", "minLength": 1}}],
                  "description": "Texts that end an answer, which they are no part of."
                },
                "seed": {"type": ["integer", "null"], "minimum": \#(Int64.min), "maximum": \#(Int64.max), "description": "The same seed gives the same answer."},
                "n": {"type": ["integer", "null"], "minimum": 1, "description": "Answers to a prompt, as many as the server has slots at most."},
                "stream": {"type": ["boolean", "null"]},
                "stream_options": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/StreamOptions"}], "description": "With 'stream': true."},
                "user": {"type": ["string", "null"], "description": "Changes nothing about an answer."},
                "ignore_eos": {"type": ["boolean", "null"], "description": "Whether a token that would end the text does not."}
        """#

    static let textSchemas = #"""
          "Model": {
            "type": "object", "required": ["id", "object", "created", "owned_by", "lacuna"],
            "properties": {
              "id": {"type": "string"}, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": {"const": "lacuna"},
              "max_model_len": {"type": "integer", "description": "Positions of a text, prompt and answer."},
              "lacuna": {"type": "object", "description": "Parameters, sparsity of the linear layers, bytes of weights, of all and of a token; of an encoder its dimensions."}
            }
          },
          "ModelList": {
            "type": "object", "required": ["object", "data"],
            "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}}}
          },
          "StreamOptions": {
            "type": "object", "additionalProperties": false,
            "properties": {
              "include_usage": {"type": ["boolean", "null"], "description": "A last chunk has the usage, and no choices."},
              "include_obfuscation": {"enum": [false, null]}
            }
          },
          "CompletionRequest": {
            "type": "object", "additionalProperties": false, "required": ["prompt"],
            "properties": {
              "prompt": {
                "description": "A text, tokens of the model, or several of either.",
                "oneOf": [
                  {"type": "string"},
                  {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}},
                  {
                    "type": "array", "minItems": 1, "maxItems": \#(CompletionRequest.mostPrompts),
                    "items": {"oneOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}}]}
                  }
                ]
              },
              "max_tokens": {"type": ["integer", "null"], "minimum": 0, "default": \#(CompletionRequest.defaultTokens)},
              "echo": {"type": ["boolean", "null"], "description": "Whether the answer begins with the prompt; with 'logprobs' its scores too."},
              "logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": \#(TokenScore.mostAlternatives)},
              "best_of": {"type": ["integer", "null"], "minimum": 1, "description": "Equal to 'n'."},
              "suffix": {"enum": ["", null], "description": "Others are not supported."},
            \#(refused(.completion)),
            \#(samplingProperties)
            }
          },
          "ChatRequest": {
            "type": "object", "additionalProperties": false, "required": ["messages"],
            "properties": {
              "messages": {"type": "array", "minItems": 1, "maxItems": \#(ChatRequest.mostMessages), "items": {"$ref": "#/components/schemas/Message"}},
              "max_tokens": {"type": ["integer", "null"], "minimum": 1, "description": "By default as many as fit the context."},
              "max_completion_tokens": {"type": ["integer", "null"], "minimum": 1, "description": "The same; both only if they are equal."},
              "logprobs": {"type": ["boolean", "null"]},
              "top_logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": \#(TokenScore.mostAlternatives), "description": "With 'logprobs': true."},
              "response_format": {
                "oneOf": [
                  {"type": "null"}, {"$ref": "#/components/schemas/TextFormat"}, {"$ref": "#/components/schemas/ObjectFormat"},
                  {"$ref": "#/components/schemas/SchemaFormat"}
                ],
                "description": "What the answer is held to. Nothing of it is told to the model."
              },
              "tools": {
                "type": ["array", "null"], "maxItems": \#(ToolFields.mostTools), "items": {"$ref": "#/components/schemas/Tool"},
                "description": "Functions that the model may call, if /v1/models says that it calls tools; without a 'response_format'."
              },
              "tool_choice": {
                "oneOf": [{"type": "null"}, {"enum": ["none", "auto", "required"]}, {"$ref": "#/components/schemas/ToolChoice"}],
                "description": "With 'tools'."
              },
              "parallel_tool_calls": {"type": ["boolean", "null"], "description": "False with a 'tool_choice' other than auto."},
              "modalities": {"oneOf": [{"type": "null"}, {"const": ["text"]}]},
              "store": {"enum": [false, null]},
            \#(refused(.chat)),
            \#(samplingProperties)
            }
          },
          "Message": {
            "type": "object", "additionalProperties": false, "required": ["role"],
            "properties": {
              "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
              "content": {
                "oneOf": [{"type": "null"}, {"type": "string"}, {"type": "array", "items": {"$ref": "#/components/schemas/TextPart"}}],
                "description": "Needed, unless there are 'tool_calls'."
              },
              "name": {"type": ["string", "null"], "description": "For templates that show it."},
              "tool_calls": {"type": ["array", "null"], "items": {"$ref": "#/components/schemas/ToolCall"}, "description": "For the role assistant."},
              "tool_call_id": {"type": ["string", "null"], "description": "For the role tool, which needs it."},
            \#(refused(.message))
            }
          },
          "TextPart": {
            "type": "object", "additionalProperties": false, "required": ["type", "text"],
            "properties": {"type": {"const": "text"}, "text": {"type": "string"}}
          },
          "ToolCall": {
            "type": "object", "additionalProperties": false, "required": ["function"],
            "properties": {
              "id": {"type": ["string", "null"]}, "type": {"enum": ["function", null]}, "index": {"type": ["integer", "null"], "minimum": 0},
              "function": {"$ref": "#/components/schemas/CalledFunction"}
            }
          },
          "CalledFunction": {
            "type": "object", "additionalProperties": false, "required": ["name", "arguments"],
            "properties": {"name": {"type": "string"}, "arguments": {"type": "string", "description": "A JSON object, as text."}}
          },
          "TextFormat": {"type": "object", "additionalProperties": false, "required": ["type"], "properties": {"type": {"const": "text"}}},
          "ObjectFormat": {"type": "object", "additionalProperties": false, "required": ["type"], "properties": {"type": {"const": "json_object"}}},
          "SchemaFormat": {
            "type": "object", "additionalProperties": false, "required": ["type", "json_schema"],
            "properties": {"type": {"const": "json_schema"}, "json_schema": {"$ref": "#/components/schemas/NamedSchema"}}
          },
          "NamedSchema": {
            "type": "object", "additionalProperties": false, "required": ["name", "schema"],
            "properties": {
              "name": {"type": "string"}, "description": {"type": ["string", "null"]},
              "schema": {"type": "object", "description": "JSON Schema of an object; words that answers cannot be held to are refused by name."},
              "strict": {"type": ["boolean", "null"], "description": "Answers are held to the schema in either case."}
            }
          },
          "Tool": {
            "type": "object", "additionalProperties": false, "required": ["type", "function"],
            "properties": {"type": {"const": "function"}, "function": {"$ref": "#/components/schemas/Function"}}
          },
          "Function": {
            "type": "object", "additionalProperties": false, "required": ["name"],
            "properties": {
              "name": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}, "description": {"type": ["string", "null"]},
              "parameters": {"type": ["object", "null"], "description": "JSON Schema of the arguments."},
              "strict": {"type": ["boolean", "null"], "description": "Whether arguments are held to 'parameters'; otherwise they are any object."}
            }
          },
          "ToolChoice": {
            "type": "object", "additionalProperties": false, "required": ["type", "function"],
            "properties": {
              "type": {"const": "function"}, "function": {"$ref": "#/components/schemas/ChosenFunction"},
            \#(refused(.toolChoice))
            }
          },
          "ChosenFunction": {"type": "object", "additionalProperties": false, "required": ["name"], "properties": {"name": {"type": "string"}}},
          "EmbeddingRequest": {
            "type": "object", "additionalProperties": false, "required": ["input"],
            "properties": {
              "model": {"type": ["string", "null"]},
              "input": {
                "oneOf": [{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1, "maxItems": \#(ServedEmbedder.mostTexts), "items": {"type": "string", "minLength": 1}}],
                "description": "Texts of as many tokens as /v1/models says at most."
              },
              "encoding_format": {"enum": ["float", "base64", null]},
              "user": {"type": ["string", "null"], "description": "Changes nothing."},
            \#(refused(.embedding))
            }
          },
          "TokenizeRequest": {"oneOf": [{"$ref": "#/components/schemas/TextTokens"}, {"$ref": "#/components/schemas/ChatTokens"}]},
          "TextTokens": {
            "type": "object", "additionalProperties": false, "required": ["prompt"],
            "properties": {
              "model": {"type": ["string", "null"]}, "prompt": {"type": "string"}, "add_special_tokens": {"type": ["boolean", "null"]},
              "return_token_strs": {"type": ["boolean", "null"]}
            }
          },
          "ChatTokens": {
            "type": "object", "additionalProperties": false, "required": ["messages"],
            "properties": {
              "model": {"type": ["string", "null"]},
              "messages": {"type": "array", "minItems": 1, "maxItems": \#(ChatRequest.mostMessages), "items": {"$ref": "#/components/schemas/Message"}},
              "add_generation_prompt": {"type": ["boolean", "null"]}, "return_token_strs": {"type": ["boolean", "null"]}
            }
          },
          "DetokenizeRequest": {
            "type": "object", "additionalProperties": false, "required": ["tokens"],
            "properties": {"model": {"type": ["string", "null"]}, "tokens": {"type": "array", "items": {"type": "integer", "minimum": 0}}}
          },
          "Tokens": {
            "type": "object", "required": ["count", "max_model_len", "tokens"],
            "properties": {
              "count": {"type": "integer"}, "max_model_len": {"type": "integer"}, "tokens": {"type": "array", "items": {"type": "integer"}},
              "token_strs": {"type": "array", "items": {"type": "string"}}
            }
          },
          "Prompt": {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}},
          "Usage": {
            "type": "object", "required": ["prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "lacuna"],
            "properties": {
              "prompt_tokens": {"type": "integer"}, "completion_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"},
              "prompt_tokens_details": {"type": "object", "required": ["cached_tokens"], "properties": {"cached_tokens": {"type": "integer"}}},
              "lacuna": {
                "type": "object", "required": ["weight_bytes", "queue_seconds", "first_token_seconds", "text_seconds"],
                "properties": {
                  "weight_bytes": {"type": "integer"}, "queue_seconds": {"type": "number"},
                  "first_token_seconds": {"type": ["number", "null"]}, "text_seconds": {"type": "number"}
                }
              }
            }
          },
          "Completion": {
            "type": "object", "required": ["id", "object", "created", "model", "choices", "usage"],
            "properties": {
              "id": {"type": "string"}, "object": {"const": "text_completion"}, "created": {"type": "integer"}, "model": {"type": "string"},
              "choices": {
                "type": "array",
                "items": {
                  "type": "object", "required": ["index", "text", "logprobs", "finish_reason"],
                  "properties": {
                    "index": {"type": "integer"}, "text": {"type": "string"}, "finish_reason": {"enum": ["stop", "length"]},
                    "logprobs": {
                      "type": ["object", "null"], "required": ["tokens", "token_logprobs", "top_logprobs", "text_offset"],
                      "properties": {
                        "tokens": {"type": "array", "items": {"type": "string"}},
                        "token_logprobs": {"type": "array", "items": {"type": ["number", "null"]}},
                        "top_logprobs": {"type": "array", "items": {"type": ["object", "null"], "additionalProperties": {"type": "number"}}},
                        "text_offset": {"type": "array", "items": {"type": "integer"}}
                      }
                    }
                  }
                }
              },
              "usage": {"$ref": "#/components/schemas/Usage"}
            }
          },
          "ChatCompletion": {
            "type": "object", "required": ["id", "object", "created", "model", "choices", "usage"],
            "properties": {
              "id": {"type": "string"}, "object": {"const": "chat.completion"}, "created": {"type": "integer"}, "model": {"type": "string"},
              "choices": {
                "type": "array",
                "items": {
                  "type": "object", "required": ["index", "message", "logprobs", "finish_reason"],
                  "properties": {
                    "index": {"type": "integer"}, "finish_reason": {"enum": ["stop", "length", "tool_calls"]},
                    "message": {
                      "type": "object", "required": ["role", "content", "refusal"],
                      "properties": {
                        "role": {"const": "assistant"}, "content": {"type": ["string", "null"]}, "refusal": {"type": "null"},
                        "tool_calls": {"type": "array", "items": {"type": "object", "required": ["id", "type", "function"]}}
                      }
                    },
                    "logprobs": {
                      "type": ["object", "null"], "required": ["content"],
                      "properties": {"content": {"type": "array", "items": {"type": "object", "required": ["token", "logprob", "bytes", "top_logprobs"]}}}
                    }
                  }
                }
              },
              "usage": {"$ref": "#/components/schemas/Usage"}
            }
          },
          "EmbeddingList": {
            "type": "object", "required": ["object", "data", "model", "usage"],
            "properties": {
              "object": {"const": "list"}, "model": {"type": "string"},
              "data": {
                "type": "array",
                "items": {
                  "type": "object", "required": ["object", "index", "embedding"],
                  "properties": {
                    "object": {"const": "embedding"}, "index": {"type": "integer"},
                    "embedding": {"oneOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}]}
                  }
                }
              },
              "usage": {"type": "object", "required": ["prompt_tokens", "total_tokens"]}
            }
          }
        """#
}
