import CLacuna
import LacunaTensor

/// The types of values that sparse matrices for training and statistics hold: `Float` and `Double`.
///
/// The requirements are the kernels that differ by type; use ``SparseMatrix`` instead.
public protocol SparseScalar: TensorScalar, SparseElement {
    /// Vectors of a full panel: 256 bytes of each feature.
    static var _panelWidth: Int { get }
    /// Panels are as wide as a multiple of this: 64 bytes.
    static var _panelUnit: Int { get }

    static func _gemv(
        _ rowOffsets: UnsafePointer<UInt32>, _ columns: UnsafePointer<UInt32>, _ values: UnsafePointer<Self>,
        _ x: UnsafePointer<Self>, _ rows: Range<Int>, columns count: Int, _ y: UnsafeMutablePointer<Self>)
    static func _product(
        _ w: UnsafeRawPointer, _ block: Int, _ panel: UnsafePointer<Self>, _ width: Int,
        _ tile: UnsafeMutablePointer<Self>)
    static func _transposed(
        _ w: UnsafeRawPointer, _ band: Int, _ panel: UnsafePointer<Self>, _ width: Int,
        _ tile: UnsafeMutablePointer<Self>)
    static func _sampled(
        _ rowOffsets: UnsafePointer<UInt32>, _ columns: UnsafePointer<UInt32>, _ rows: Range<Int>,
        _ a: UnsafePointer<Self>, _ b: UnsafePointer<Self>, _ width: Int, _ add: Bool,
        _ values: UnsafeMutablePointer<Self>)
    static func _sampledSegments(
        _ w: UnsafeRawPointer, _ block: Int, _ a: UnsafePointer<Self>, _ b: UnsafePointer<Self>, _ width: Int,
        _ add: Bool, _ values: UnsafeMutablePointer<Self>)
    static func _productGroups(
        _ w: UnsafePointer<lk_grouped>, _ block: Int, _ panel: UnsafePointer<Self>, _ width: Int,
        _ tile: UnsafeMutablePointer<Self>)
    static func _transposedGroups(
        _ w: UnsafePointer<lk_grouped>, _ groups: Range<Int>, _ panel: UnsafePointer<Self>, _ width: Int,
        _ tile: UnsafeMutablePointer<Self>)
    static func _sampledGroups(
        _ w: UnsafePointer<lk_grouped>, _ block: Int, _ a: UnsafePointer<Self>, _ b: UnsafePointer<Self>, _ width: Int,
        _ add: Bool, _ values: UnsafeMutablePointer<Self>)
    static func _transpose(
        _ source: UnsafePointer<Self>, _ sourceStride: Int, _ m: Int, _ n: Int, _ alpha: Self, _ beta: Self,
        _ target: UnsafeMutablePointer<Self>, _ targetStride: Int)
    static func _spgemm(
        minPlus: Bool
    ) -> (
        UnsafePointer<lk_spgemm>?, UnsafePointer<Self>?, UnsafePointer<Self>?, UnsafePointer<UInt64>?, Int, Int,
        UnsafePointer<lk_spgemm_work>?, UnsafePointer<UInt32>?, UnsafeMutablePointer<UInt32>?,
        UnsafeMutablePointer<Self>?
    ) -> Void
    static func _combine(
        _ alpha: Self, _ x: UnsafePointer<Self>, _ beta: Self, _ y: UnsafeMutablePointer<Self>, _ count: Int)
}

extension Float: SparseScalar {
    public static var _panelWidth: Int { 64 }
    public static var _panelUnit: Int { 16 }

    public static func _gemv(
        _ rowOffsets: UnsafePointer<UInt32>, _ columns: UnsafePointer<UInt32>, _ values: UnsafePointer<Float>,
        _ x: UnsafePointer<Float>, _ rows: Range<Int>, columns count: Int, _ y: UnsafeMutablePointer<Float>
    ) {
        var w = lk_csr(
            row_start: rowOffsets, column: columns, values: values, scales: nil, columns: count, wide: 1)
        var input = lk_input()
        input.x = x
        Kernels.best.gemv_csr_f32(&w, &input, rows.lowerBound, rows.upperBound, y)
    }

    public static func _product(
        _ w: UnsafeRawPointer, _ block: Int, _ panel: UnsafePointer<Float>, _ width: Int,
        _ tile: UnsafeMutablePointer<Float>
    ) {
        Kernels.best.product_segments_f32(w.assumingMemoryBound(to: lk_segmented.self), block, panel, width, tile)
    }
    public static func _transposed(
        _ w: UnsafeRawPointer, _ band: Int, _ panel: UnsafePointer<Float>, _ width: Int,
        _ tile: UnsafeMutablePointer<Float>
    ) {
        Kernels.best.transposed_segments_f32(w.assumingMemoryBound(to: lk_segmented.self), band, panel, width, tile)
    }
    public static func _sampled(
        _ rowOffsets: UnsafePointer<UInt32>, _ columns: UnsafePointer<UInt32>, _ rows: Range<Int>,
        _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ width: Int, _ add: Bool,
        _ values: UnsafeMutablePointer<Float>
    ) {
        Kernels.best.sampled_f32(
            rowOffsets, columns, rows.lowerBound, rows.upperBound, a, b, width, add ? 1 : 0, values)
    }
    public static func _sampledSegments(
        _ w: UnsafeRawPointer, _ block: Int, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ width: Int,
        _ add: Bool, _ values: UnsafeMutablePointer<Float>
    ) {
        Kernels.best.sampled_segments_f32(
            w.assumingMemoryBound(to: lk_segmented.self), block, a, b, width, add ? 1 : 0, values)
    }
    public static func _productGroups(
        _ w: UnsafePointer<lk_grouped>, _ block: Int, _ panel: UnsafePointer<Float>, _ width: Int,
        _ tile: UnsafeMutablePointer<Float>
    ) {
        Kernels.best.product_groups_f32(w, block, panel, width, tile)
    }
    public static func _transposedGroups(
        _ w: UnsafePointer<lk_grouped>, _ groups: Range<Int>, _ panel: UnsafePointer<Float>, _ width: Int,
        _ tile: UnsafeMutablePointer<Float>
    ) {
        Kernels.best.transposed_groups_f32(w, groups.lowerBound, groups.upperBound, panel, width, tile)
    }
    public static func _sampledGroups(
        _ w: UnsafePointer<lk_grouped>, _ block: Int, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>,
        _ width: Int,
        _ add: Bool, _ values: UnsafeMutablePointer<Float>
    ) {
        Kernels.best.sampled_groups_f32(w, block, a, b, width, add ? 1 : 0, values)
    }
    public static func _transpose(
        _ source: UnsafePointer<Float>, _ sourceStride: Int, _ m: Int, _ n: Int, _ alpha: Float, _ beta: Float,
        _ target: UnsafeMutablePointer<Float>, _ targetStride: Int
    ) {
        Kernels.best.transpose_add_f32(source, sourceStride, m, n, alpha, beta, target, targetStride)
    }
    public static func _spgemm(
        minPlus: Bool
    ) -> (
        UnsafePointer<lk_spgemm>?, UnsafePointer<Float>?, UnsafePointer<Float>?, UnsafePointer<UInt64>?, Int, Int,
        UnsafePointer<lk_spgemm_work>?, UnsafePointer<UInt32>?, UnsafeMutablePointer<UInt32>?,
        UnsafeMutablePointer<Float>?
    ) -> Void {
        minPlus ? Kernels.best.spgemm_min_plus_f32 : Kernels.best.spgemm_f32
    }
    public static func _combine(
        _ alpha: Float, _ x: UnsafePointer<Float>, _ beta: Float, _ y: UnsafeMutablePointer<Float>, _ count: Int
    ) {
        Kernels.best.combine_f32(alpha, x, beta, y, count)
    }
}

extension Double: SparseScalar {
    public static var _panelWidth: Int { 32 }
    public static var _panelUnit: Int { 8 }

    public static func _gemv(
        _ rowOffsets: UnsafePointer<UInt32>, _ columns: UnsafePointer<UInt32>, _ values: UnsafePointer<Double>,
        _ x: UnsafePointer<Double>, _ rows: Range<Int>, columns count: Int, _ y: UnsafeMutablePointer<Double>
    ) {
        Kernels.best.gemv_csr_f64(rowOffsets, columns, values, x, rows.lowerBound, rows.upperBound, y)
    }

    public static func _product(
        _ w: UnsafeRawPointer, _ block: Int, _ panel: UnsafePointer<Double>, _ width: Int,
        _ tile: UnsafeMutablePointer<Double>
    ) {
        Kernels.best.product_segments_f64(w.assumingMemoryBound(to: lk_segmented.self), block, panel, width, tile)
    }
    public static func _transposed(
        _ w: UnsafeRawPointer, _ band: Int, _ panel: UnsafePointer<Double>, _ width: Int,
        _ tile: UnsafeMutablePointer<Double>
    ) {
        Kernels.best.transposed_segments_f64(w.assumingMemoryBound(to: lk_segmented.self), band, panel, width, tile)
    }
    public static func _sampled(
        _ rowOffsets: UnsafePointer<UInt32>, _ columns: UnsafePointer<UInt32>, _ rows: Range<Int>,
        _ a: UnsafePointer<Double>, _ b: UnsafePointer<Double>, _ width: Int, _ add: Bool,
        _ values: UnsafeMutablePointer<Double>
    ) {
        Kernels.best.sampled_f64(
            rowOffsets, columns, rows.lowerBound, rows.upperBound, a, b, width, add ? 1 : 0, values)
    }
    public static func _sampledSegments(
        _ w: UnsafeRawPointer, _ block: Int, _ a: UnsafePointer<Double>, _ b: UnsafePointer<Double>, _ width: Int,
        _ add: Bool, _ values: UnsafeMutablePointer<Double>
    ) {
        Kernels.best.sampled_segments_f64(
            w.assumingMemoryBound(to: lk_segmented.self), block, a, b, width, add ? 1 : 0, values)
    }
    public static func _productGroups(
        _ w: UnsafePointer<lk_grouped>, _ block: Int, _ panel: UnsafePointer<Double>, _ width: Int,
        _ tile: UnsafeMutablePointer<Double>
    ) {
        Kernels.best.product_groups_f64(w, block, panel, width, tile)
    }
    public static func _transposedGroups(
        _ w: UnsafePointer<lk_grouped>, _ groups: Range<Int>, _ panel: UnsafePointer<Double>, _ width: Int,
        _ tile: UnsafeMutablePointer<Double>
    ) {
        Kernels.best.transposed_groups_f64(w, groups.lowerBound, groups.upperBound, panel, width, tile)
    }
    public static func _sampledGroups(
        _ w: UnsafePointer<lk_grouped>, _ block: Int, _ a: UnsafePointer<Double>, _ b: UnsafePointer<Double>,
        _ width: Int,
        _ add: Bool, _ values: UnsafeMutablePointer<Double>
    ) {
        Kernels.best.sampled_groups_f64(w, block, a, b, width, add ? 1 : 0, values)
    }
    public static func _transpose(
        _ source: UnsafePointer<Double>, _ sourceStride: Int, _ m: Int, _ n: Int, _ alpha: Double, _ beta: Double,
        _ target: UnsafeMutablePointer<Double>, _ targetStride: Int
    ) {
        Kernels.best.transpose_add_f64(source, sourceStride, m, n, alpha, beta, target, targetStride)
    }
    public static func _spgemm(
        minPlus: Bool
    ) -> (
        UnsafePointer<lk_spgemm>?, UnsafePointer<Double>?, UnsafePointer<Double>?, UnsafePointer<UInt64>?, Int, Int,
        UnsafePointer<lk_spgemm_work>?, UnsafePointer<UInt32>?, UnsafeMutablePointer<UInt32>?,
        UnsafeMutablePointer<Double>?
    ) -> Void {
        minPlus ? Kernels.best.spgemm_min_plus_f64 : Kernels.best.spgemm_f64
    }
    public static func _combine(
        _ alpha: Double, _ x: UnsafePointer<Double>, _ beta: Double, _ y: UnsafeMutablePointer<Double>, _ count: Int
    ) {
        Kernels.best.combine_f64(alpha, x, beta, y, count)
    }
}
