extension InterfaceDescription {
    static let searchPaths = #"""
            "/index": {
              "get": {
                "summary": "What is served.",
                "responses": {
                  "200": {"description": "The index as it was last changed.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Index"}}}},
                  \#(errors(400, 401))
                }
              }
            },
            "/search": {
              "post": {
                "summary": "The best documents for a query.",
                "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/SearchRequest"}}}},
                "responses": {
                  "200": {"description": "Documents, best first.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/SearchResults"}}}},
                  \#(errors(400, 401, 408, 413, 429, 503))
                }
              }
            }
        """#

    static let searchSchemas = #"""
          "Index": {
            "type": "object", "required": ["name", "documents", "terms", "generation", "takes_text", "fields"],
            "properties": {
              "name": {"type": "string"}, "documents": {"type": "integer"}, "terms": {"type": "integer"},
              "generation": {"type": "integer", "description": "Grows with every change."},
              "takes_text": {"type": "boolean", "description": "Whether it says what turns a text into a query."},
              "fields": {"type": "array", "items": {"type": "string"}, "description": "What filters may ask for."}
            }
          },
          "SearchRequest": {
            "type": "object", "additionalProperties": false,
            "description": "With a 'query' or a 'vector'.",
            "properties": {
              "query": {"type": ["string", "null"], "description": "A text, where the index takes some."},
              "vector": {
                "type": ["object", "null"], "maxProperties": \#(SearchRequest.mostTerms),
                "additionalProperties": {"type": ["number", "null"], "minimum": 0, "maximum": 1e30},
                "description": "Weights by terms."
              },
              "k": {"type": ["integer", "null"], "minimum": 1, "maximum": \#(SearchService.mostHits), "default": 10},
              "filter": {"type": ["string", "null"], "description": "Of the metadata, such as year >= 1958 and section = libs."},
              "exact": {"type": ["boolean", "null"], "description": "Score every document. Not with the following."},
              "query_cut": {"type": ["integer", "null"], "minimum": 1, "maximum": 1000000, "description": "Of an approximate index: terms of the query whose lists are walked."},
              "heap_factor": {"type": ["number", "null"], "minimum": 0, "maximum": 100, "description": "Of an approximate index: blocks below this part of the k-th best score so far are passed over."}
            }
          },
          "SearchResults": {
            "type": "object", "required": ["hits", "documents", "documents_scored", "generation", "seconds"],
            "properties": {
              "hits": {
                "type": "array",
                "items": {
                  "type": "object", "required": ["rank", "id", "score", "text", "terms"],
                  "properties": {
                    "rank": {"type": "integer", "minimum": 1}, "id": {"type": "string"}, "score": {"type": "number"}, "text": {"type": "string"},
                    "terms": {
                      "type": "array",
                      "items": {"type": "object", "required": ["term", "score"], "properties": {"term": {"type": "string"}, "score": {"type": "number"}}}
                    }
                  }
                }
              },
              "documents": {"type": "integer"}, "documents_scored": {"type": "integer"}, "generation": {"type": "integer"},
              "seconds": {"type": "number"}
            }
          }
        """#
}
