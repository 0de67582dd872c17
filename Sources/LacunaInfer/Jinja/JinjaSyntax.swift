/// An expression of a template, and the line it begins on.
struct JinjaExpression: Sendable {
    indirect enum Kind: Sendable {
        case constant(JinjaValue)
        case name(String)
        case list([JinjaExpression])
        case tuple([JinjaExpression])
        case dictionary([(key: JinjaExpression, value: JinjaExpression)])
        case attribute(JinjaExpression, String)
        case item(JinjaExpression, JinjaExpression)
        case slice(JinjaExpression, JinjaExpression?, JinjaExpression?, JinjaExpression?)
        case call(JinjaExpression, JinjaCall)
        /// The value is nil where a filter is applied to a block.
        case filter(JinjaExpression, String, JinjaCall)
        case test(JinjaExpression, String, JinjaCall)
        case not(JinjaExpression)
        case and(JinjaExpression, JinjaExpression)
        case or(JinjaExpression, JinjaExpression)
        case sign(JinjaExpression, isNegative: Bool)
        case arithmetic(String, JinjaExpression, JinjaExpression)
        case joined([JinjaExpression])
        case comparison(JinjaExpression, [(operation: String, operand: JinjaExpression)])
        case condition(JinjaExpression, then: JinjaExpression, otherwise: JinjaExpression?)
    }

    let kind: Kind
    let line: Int
}

/// The arguments of a call.
struct JinjaCall: Sendable {
    var positional: [JinjaExpression] = []
    var named: [(name: String, value: JinjaExpression)] = []
}

/// What a value is given to.
enum JinjaTarget: Sendable {
    case name(String)
    case names([String])
    /// A member of a namespace.
    case member(String, String)
}

/// A statement of a template.
indirect enum JinjaStatement: Sendable {
    case data(String)
    case output(JinjaExpression)
    case branch([(condition: JinjaExpression, body: [JinjaStatement])], otherwise: [JinjaStatement])
    case loop(JinjaLoop)
    case assignment(JinjaTarget, JinjaExpression, line: Int)
    /// What the statements print, through filters.
    case capture(JinjaTarget, [JinjaStatement], filters: [(name: String, call: JinjaCall)], line: Int)
    case filtered([JinjaStatement], filters: [(name: String, call: JinjaCall)], line: Int)
    case macro(JinjaMacro)
    case scope([(JinjaTarget, JinjaExpression)], [JinjaStatement], line: Int)
    case breakLoop(line: Int)
    case continueLoop(line: Int)
}

struct JinjaLoop: Sendable {
    let target: JinjaTarget
    let collection: JinjaExpression
    let filter: JinjaExpression?
    let body: [JinjaStatement]
    let otherwise: [JinjaStatement]
    /// Whether anything within it speaks of `loop`.
    let usesVariable: Bool
    let line: Int
}

struct JinjaMacro: Sendable {
    let name: String
    let parameters: [(name: String, standard: JinjaExpression?)]
    let body: [JinjaStatement]
    let line: Int
}
