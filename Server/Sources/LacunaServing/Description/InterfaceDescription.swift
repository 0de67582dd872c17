import LacunaIO

/// What a server answers, as an OpenAPI 3.1 document: every path, every member of a request that is read, and those that the
/// field knows and that are refused (`"type": "null"`). `Server/openapi.json` and `Server/openapi-search.json` are the same.
enum InterfaceDescription {
    /// Of ``Service``.
    static let texts = document(
        "texts and vectors of models", page: "A page to talk to the model.", counts: ["active", "queued"], textPaths,
        textSchemas)
    /// Of ``SearchService``.
    static let search = document(
        "an index of documents", page: "A page to search by.", counts: [], searchPaths, searchSchemas)

    /// The part of the interface that is the same for both, around paths and schemas.
    ///
    /// - Parameters:
    ///   - page: What the page for browsers is for.
    ///   - counts: What `/health` counts beside the status.
    private static func document(
        _ what: String, page: String, counts: [String], _ paths: String, _ schemas: String
    ) -> ServiceResponse {
        let counted = counts.map { #", "\#($0)": {"type": "integer"}"# }.joined()
        let required = (["status"] + counts).map { "\"\($0)\"" }.joined(separator: ", ")
        let text = #"""
            {
              "openapi": "3.1.0",
              "info": {
                "title": "lacuna serve: \#(what)",
                "version": "1",
                "description": "A member of a request that is null counts as absent. What is not supported, and what nobody knows, is refused with status 400 and the name of the parameter; no member is passed over in silence."
              },
              "servers": [{"url": "http://127.0.0.1:8080"}],
              "security": [{}, {"key": []}],
              "paths": {
                "/openapi.json": {
                  "get": {
                    "summary": "This description.", "security": [],
                    "responses": {"200": {"description": "An OpenAPI document.", "content": {"application/json": {"schema": {"type": "object", "required": ["openapi", "paths"]}}}}}
                  }
                },
                "/metrics": {
                  "get": {
                    "summary": "What has been done, for Prometheus.",
                    "responses": {"200": {"description": "Counts.", "content": {"text/plain": {"schema": {"type": "string"}}}}, "401": {"$ref": "#/components/responses/Error"}}
                  }
                },
                "/": {"get": {"summary": "\#(page)", "security": [], "responses": {"200": {"$ref": "#/components/responses/Page"}}}},
                "/health": {
                  "get": {
                    "summary": "Whether it serves.", "security": [],
                    "responses": {
                      "200": {"description": "It does.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Health"}}}},
                      "503": {"description": "It is about to stop.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Health"}}}}
                    }
                  }
                },
            \#(paths)
              },
              "components": {
                "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "Needed if the server was started with a key."}},
                "responses": {
                  "Page": {"description": "A page for browsers.", "content": {"text/html": {"schema": {"type": "string"}}}},
                  "Error": {"description": "What is wrong.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
                },
                "schemas": {
                  "Error": {
                    "type": "object", "required": ["error"],
                    "properties": {
                      "error": {
                        "type": "object", "required": ["message", "type", "param", "code"],
                        "properties": {
                          "message": {"type": "string", "minLength": 1, "description": "A sentence for people."},
                          "type": {"enum": ["invalid_request_error", "authentication_error", "rate_limit_error", "server_error"]},
                          "param": {"type": ["string", "null"], "description": "The parameter at fault, such as messages[0].role."},
                          "code": {"type": ["string", "null"], "description": "A word for programs, such as unknown_parameter."}
                        }
                      }
                    }
                  },
                  "Health": {
                    "type": "object", "required": [\#(required)],
                    "properties": {"status": {"enum": ["ok", "draining"]}\#(counted)}
                  },
            \#(schemas)
                }
              }
            }
            """#
        // In one form. A document that is no JSON is found by the tests.
        let body = (try? JSONValue(parsing: text).serialized(.pretty)) ?? text
        return ServiceResponse(status: 200, contentType: "application/json", body: body)
    }

    /// The responses of a `POST`, behind the one with status 200.
    static func errors(_ statuses: Int...) -> String {
        statuses.map { ##""\##($0)": {"$ref": "#/components/responses/Error"}"## }.joined(separator: ", ")
    }

    /// A member that the field knows and that is refused.
    static func refused(_ members: RequestMembers) -> String {
        members.unsupported.sorted().map { #""\#($0)": {"type": "null", "description": "Not supported."}"# }
            .joined(separator: ",\n            ")
    }
}
