import LacunaTensor

extension Variable {
    /// How much boxes overlap those of `other`, one pair a row: the generalised intersection over union
    /// `I / U - (C - U) / C`, -1...1, with `C` the smallest box around both. It has a slope even where boxes are apart.
    ///
    /// Hamid Rezatofighi and others, "Generalized Intersection over Union", arXiv 1902.09630. The loss of detectors is
    /// `1 - GIoU`.
    ///
    /// - Parameters:
    ///   - self: [n, 4]: left, top, right and bottom, with left ≤ right and top ≤ bottom.
    ///   - other: Boxes [n, 4].
    /// - Returns: [n]. A quotient of areas that are both 0 is 0.
    public func generalizedOverlap(with other: Variable) -> Variable {
        require(
            shape.count == 2 && shape[1] == 4 && other.shape == shape,
            "boxes are [n, 4], not \(shape) and \(other.shape)")
        let n = shape[0]
        return tape.operation(inputs: [self, other], shape: [n]) { inputs, output in
            for row in 0..<n {
                output[row] = BoxPair(inputs[0].baseAddress! + 4 * row, inputs[1].baseAddress! + 4 * row).value
            }
        } backward: { pass in
            for side in 0..<2 {
                pass.accumulate(side) { gradient in
                    for row in 0..<n {
                        let (a, b) = (pass.inputs[side].baseAddress!, pass.inputs[1 - side].baseAddress!)
                        BoxPair(a + 4 * row, b + 4 * row).addSlope(
                            times: pass.gradient[row], to: gradient.baseAddress! + 4 * row)
                    }
                }
            }
        }
    }
}

/// Two boxes, and the areas that their overlap is made of. The value is the same for both orders.
private struct BoxPair<Scalar: LearningScalar> {
    let a, b: UnsafePointer<Scalar>
    /// Sides of the intersection and of the box around both.
    let shared, around: (width: Scalar, height: Scalar)
    let union: Scalar

    init(_ a: UnsafePointer<Scalar>, _ b: UnsafePointer<Scalar>) {
        (self.a, self.b) = (a, b)
        shared = (max(0, min(a[2], b[2]) - max(a[0], b[0])), max(0, min(a[3], b[3]) - max(a[1], b[1])))
        around = (max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1]))
        union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared.width * shared.height
    }

    private var intersection: Scalar { shared.width * shared.height }
    private var hull: Scalar { around.width * around.height }

    var value: Scalar { (union > 0 ? intersection / union : 0) - (hull > 0 ? 1 - union / hull : 0) }

    /// Adds the slope along the sides of `a`. A side that both boxes share counts as `a`'s.
    func addSlope(times factor: Scalar, to gradient: UnsafeMutablePointer<Scalar>) {
        // Of the value along the union, the intersection (which the union holds negatively) and the hull.
        let alongUnion = (union > 0 ? -intersection / (union * union) : 0) + (hull > 0 ? 1 / hull : 0)
        let alongShared = (union > 0 ? 1 / union : 0) - alongUnion
        let alongHull = hull > 0 ? -union / (hull * hull) : 0
        let sides = (width: a[2] - a[0], height: a[3] - a[1])
        for axis in 0..<2 {
            let (low, high) = (axis, axis + 2)
            // What a longer side of `a`, of the intersection and of the hull adds to each area.
            let own = alongUnion * (axis == 0 ? sides.height : sides.width)
            let inner = alongShared * (axis == 0 ? shared.height : shared.width)
            let outer = alongHull * (axis == 0 ? around.height : around.width)
            let overlaps = (axis == 0 ? shared.width : shared.height) > 0
            gradient[high] +=
                factor * (own + (overlaps && a[high] <= b[high] ? inner : 0) + (a[high] >= b[high] ? outer : 0))
            gradient[low] -=
                factor * (own + (overlaps && a[low] >= b[low] ? inner : 0) + (a[low] <= b[low] ? outer : 0))
        }
    }
}
