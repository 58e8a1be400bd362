// What is wired to what in an architecture, as rows in forward order and links between them; draws nothing.
//
// A row is a part of the network under the name that its cost has ("blocks.0", "stage_1.down_0"), or one of the
// ends: {name, label, kind, level, width, from, side}. `width`: channels out before any pruning, null where only
// the server knows; `from`: channels in, or null; `level`: how often the map was halved; `side`: not on the main
// path. A link is {from, to, how, joins, text}: from what row comes out to where `to` begins (joins "before") or
// ends ("after"); how: "add", "concat" or "feed".

/** `rfdb` or `recursive(block=rfdb,times=2)`. */
function blockText(block) {
  if (typeof block === 'string') return block;
  const options = Object.entries(block).filter(([name]) => name !== 'kind');
  return options.length ? `${block.kind}(${options.map(([n, v]) => `${n}=${v}`).join(',')})` : block.kind;
}

/** {rows, links, known} of an architecture's JSON; without rows where the topology is unknown. */
export function wiring(architecture) {
  const base = architecture.topology === 'pruned' ? architecture.base : architecture;
  const draw = { chain, rescaler, unet, hdr }[base.topology];
  const sketch = new Sketch();
  if (draw) draw(base, sketch);
  return { rows: sketch.rows, links: sketch.links, known: Boolean(draw) };
}

class Sketch {
  rows = [];
  links = [];

  add(name, label, { kind = '', level = 0, width = null, from = null, side = false } = {}) {
    this.rows.push({ name, label, kind, level, width, from, side });
    return this.rows.length - 1;
  }

  link(from, to, how, joins, text = '') {
    this.links.push({ from, to, how, joins, text });
  }

  get last() {
    return this.rows.length - 1;
  }
}

function chain(a, sketch) {
  chainFrom(sketch.add('input', 'input'), a, sketch, 0);
}

/** A chain whose input is the row `input`, at `level`; ends with the output. */
function chainFrom(input, a, sketch, level) {
  const { width, blocks } = a;
  if (a.mean_shift) sketch.add('mean_in', 'mean shift', { kind: 'subtracts the mean colour', level });
  const inner = level + Math.log2(a.unshuffle ?? 1);
  const form = a.convolution && a.convolution !== 'plain' ? `, ${a.convolution.replaceAll('_', ' ')}` : '';
  const layers = ['3x3 convolution', 'two 3x3 convolutions', 'three 3x3 convolutions'][(a.head_layers ?? 1) - 1];
  const unshuffled = inner > level ? `unshuffle ${a.unshuffle}, ` : '';
  const head = sketch.add('head', 'head', { kind: unshuffled + layers + form, level: inner, width });
  const outputs = trunk(a, sketch, inner, head);
  const selects = a.fusion === 'select' || a.fusion === 'stack';
  if (a.fusion === 'pairs') pairs(outputs, sketch, { level: inner, width, from: 2 * width });
  else if (!selects) fusion(a.fusion ?? 'concat', outputs, sketch, { level: inner, width, from: width * blocks.length });
  if (a.feature_skip ?? true) {
    if (a.trunk_convolution ?? true) {
      const kind = a.trunk_kernel === 1 ? '1x1 convolution' : `3x3 convolution${form}`;
      sketch.add('trunk_conv', 'trunk convolution', { kind, level: inner, width, from: width });
    }
    if (!selects) sketch.link(head, sketch.last, 'add', 'after', 'feature skip');
  }
  if (selects) select(a, sketch, { input, head, outputs, level: inner });
  const from = selects ? null : width;
  const upsampler = sketch.add('upsampler', 'upsampler', { kind: blockText(a.upsampler ?? 'pixelshuffle'), level, from });
  if (a.fusion === 'stack') selected(a, sketch, upsampler, { head, outputs });
  if (a.mean_shift) sketch.add('mean_out', 'mean shift', { kind: 'adds the mean colour', level });
  if ((a.image_skip ?? 'none') !== 'none') {
    sketch.link(input, sketch.last, 'add', 'after', `image skip, ${a.image_skip}`);
  }
  sketch.add('output', 'output', { level: 0 });
}

/** The blocks and their gates; the rows whose outputs a fusion takes. */
function trunk(a, sketch, level) {
  return a.blocks.map((block, i) => {
    const place = { level, width: a.width, from: a.width };
    sketch.add(`blocks.${i}`, `block ${i + 1}`, { kind: blockText(block), ...place });
    const gated = (a.attention ?? 'paper') !== 'paper';
    if (gated) sketch.add(`gates.${i}`, `gate ${i + 1}`, { kind: a.attention, ...place });
    return sketch.last;
  });
}

/** EFDN's: a block from the third on takes the two outputs before it, and the end the middle one's and the last. */
function pairs(outputs, sketch, place) {
  for (let i = 0; i < outputs.length - 1; i++) {
    const final = i === outputs.length - 2;
    const row = sketch.add(`pairs.${i}`, `pair ${i + 1}`, { kind: 'concatenation, 1x1 convolution', side: !final, ...place });
    const [first, second] = final ? [Math.floor(outputs.length / 2) - 1, outputs.length - 1] : [i, i + 1];
    sketch.link(outputs[first], row, 'concat', 'before');
    if (final) continue;
    sketch.link(outputs[second], row, 'concat', 'before');
    sketch.link(row, outputs[i + 2], 'feed', 'before');
  }
}

function select(a, sketch, { input, head, outputs, level }) {
  const taps = a.taps ?? ['head', 'first', 'last'];
  if (taps.includes('near')) {
    const near = sketch.add('near', 'near', { kind: '3x3 convolution of each channel', level, side: true });
    sketch.link(input, near, 'feed', 'before');
  }
  if (a.fusion !== 'select') return;
  const width = a.tail_width || a.width;
  const row = sketch.add('fusion', 'fusion', { kind: 'concatenation, 1x1 convolution', level, width });
  selected(a, sketch, row, { head, outputs });
}

/** Links of the maps that are concatenated before `row`, but for the last block's, which leads there anyway. */
function selected(a, sketch, row, { head, outputs }) {
  const near = sketch.rows.findIndex((r) => r.name === 'near');
  const from = { near, head, first: outputs[0], inner: outputs.at(-1) };
  for (const tap of a.taps ?? ['head', 'first', 'last']) {
    if (tap !== 'last') sketch.link(from[tap], row, 'concat', 'before', tap === 'inner' ? 'inner map' : '');
  }
}

function fusion(form, outputs, sketch, place) {
  if (form === 'plain' || (form === 'backward' && outputs.length < 2)) return;
  const kind = form === 'backward' ? 'backward, 1x1 convolutions' : 'concatenation, 1x1 convolution';
  const row = sketch.add('fusion', 'fusion', { kind, ...place });
  outputs.slice(0, -1).forEach((from) => sketch.link(from, row, 'concat', 'before'));
}

function rescaler(a, sketch) {
  const input = sketch.add('input', 'input');
  const depth = a.down_depth ?? 1;
  sketch.add('bicubic', 'down-scaling', { kind: 'bicubic, fixed', level: 1 });
  const width = a.down_width ?? 16;
  const kind = `${depth + 1} convolutions, ${width} wide, adds at most ${a.bound ?? 8}/255`;
  const down = sketch.add('down', 'learned change', { kind, level: 1, side: true });
  sketch.link(input, down, 'feed', 'before');
  sketch.link(down, down, 'add', 'after');
  const stored = sketch.add('stored', 'stored image', { kind: '8 bits', level: 1 });
  chainFrom(stored, a, sketch, 1);
}

function hdr(a, sketch) {
  const input = sketch.add('input', 'input', { kind: 'short, medium, long exposure' });
  const level = Math.log2(a.unshuffle ?? 1);
  const { width } = a;
  const aligned = (a.alignment ?? 'attention') === 'attention' ? 'attention to the medium frame' : 'concatenation';
  const alignment = sketch.add('alignment', 'alignment', { kind: aligned, level, width });
  const outputs = trunk(a, sketch, level);
  fusion(a.fusion ?? 'concat', outputs, sketch, { level, width, from: width * a.blocks.length });
  const conv = `3x3 convolution${a.convolution === 'separable' ? ', separable' : ''}`;
  sketch.add('trunk_conv', 'trunk convolution', { kind: conv, level, width, from: width });
  if (a.reference_skip ?? true) sketch.link(alignment, sketch.last, 'add', 'after', "medium frame's features");
  const layers = (a.reconstruction ?? 'double') === 'double' ? 'two 3x3 convolutions' : '3x3 convolution';
  sketch.add('reconstruction', 'reconstruction', { kind: `${layers}, ${a.output ?? 'sigmoid'}`, from: width });
  if (a.image_skip) sketch.link(input, sketch.last, 'add', 'after', 'medium exposure');
  sketch.add('output', 'output');
}

function unet(a, sketch) {
  const input = sketch.add('input', 'input');
  const encoded = unetStage('stage_1', a, sketch, null);
  if (a.stages === 2) {
    const width = a.widths[0];
    sketch.add('sam.features', 'SAM features', { kind: '3x3 convolution', width, from: width });
    const image = sketch.add('sam.image', 'SAM image', { kind: "first stage's image", from: width, side: true });
    sketch.link(input, image, 'add', 'after', 'image skip');
    sketch.add('sam.gate', 'SAM gate', { kind: '3x3 convolution, sigmoid', width, side: true });
    const head = sketch.add('stage_2.head', 'head', { kind: '3x3 convolution', width, side: true });
    sketch.link(input, head, 'feed', 'before');
    const fused = { kind: 'concatenation, 1x1 convolution', width, from: 2 * width };
    const join = sketch.add('stage_2.fusion', 'fusion', fused);
    sketch.link(head, join, 'concat', 'before');
    unetStage('stage_2', a, sketch, encoded);
  }
  sketch.add('upsampler', 'upsampler', { kind: blockText(a.upsampler ?? 'pixelshuffle'), from: a.widths[0] });
  if (a.image_skip ?? true) sketch.link(input, sketch.last, 'add', 'after', 'image skip');
  // a RAW network's learned colours are a part that only the server's list has: it is appended there
  sketch.add('output', 'output');
}

/** One U-Net: {encoder, decoder}, the rows where each level ends. `earlier`: the first stage's, which CSFF adds. */
function unetStage(stage, a, sketch, earlier) {
  const bottom = a.widths.length - 1;
  const block = (a.entry ?? 'conv') === 'block';
  if (!earlier) sketch.add(`${stage}.head`, 'head', { kind: '3x3 convolution', width: a.widths[0] });
  const [encoder, decoder] = [[], []];
  for (let level = 0; level <= bottom; level += 1) {
    const before = block ? a.widths[Math.max(level - 1, 0)] : a.widths[level];
    levelBlocks(sketch, stage, 'encoder', a.encoder[level], a.widths[level], before, level, bottom);
    if (level === bottom) break;
    if (earlier) crossStage(sketch, stage, a.widths[level], level, earlier);
    encoder.push(sketch.last);
    const width = block ? a.widths[level] : a.widths[level + 1];
    const place = { level: level + 1, width, from: a.widths[level] };
    sketch.add(`${stage}.down_${level}`, 'down', { kind: blockText(a.down ?? 'strided'), ...place });
  }
  for (let level = bottom - 1; level >= 0; level -= 1) {
    wayUp(sketch, stage, a, level, encoder[level], block);
    decoder[level] = sketch.last;
  }
  return { encoder, decoder };
}

function crossStage(sketch, stage, width, level, earlier) {
  ['encoder', 'decoder'].forEach((way) => {
    const place = { kind: "3x3 convolution of stage 1's", level, width, from: width, side: true };
    const row = sketch.add(`${stage}.csff_${way}_${level}`, `CSFF, ${way}`, place);
    sketch.link(earlier[way][level], row, 'feed', 'before');
    sketch.link(row, row, 'add', 'after');
  });
}

function wayUp(sketch, stage, a, level, skipped, block) {
  const width = a.widths[level];
  const concat = (a.skip ?? 'concat') === 'concat';
  const place = { level, width };
  const up = { kind: blockText(a.up ?? 'transposed'), ...place, from: a.widths[level + 1] };
  sketch.add(`${stage}.up_${level}`, 'up', up);
  let from = skipped;
  if (a.skip_conv) {
    from = sketch.add(`${stage}.skip_${level}`, 'skip', { kind: '3x3 convolution', ...place, from: width,
      side: true });
    sketch.link(skipped, from, 'feed', 'before');
  }
  let joined = concat ? 2 * width : width;
  const next = sketch.last + 1;
  if (!block && concat) {
    sketch.add(`${stage}.join_${level}`, 'join', { kind: 'concatenation, 1x1 convolution', ...place, from: joined });
    joined = width;
  }
  levelBlocks(sketch, stage, 'decoder', a.decoder[level], width, joined, level, -1);
  sketch.link(from, next, concat ? 'concat' : 'add', 'before');
}

function levelBlocks(sketch, stage, way, blocks, width, first, level, bottom) {
  blocks.forEach((block, i) => {
    const label = level === bottom ? `bottom ${i + 1}` : `${way} ${level + 1}.${i + 1}`;
    const place = { level, width, from: i ? width : first };
    sketch.add(`${stage}.${way}_${level}_${i}`, label, { kind: blockText(block), ...place });
  });
}

