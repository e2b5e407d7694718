// The parameters of a training job that matter most, as docs/presets.md explains them.

export const PRESETS = [
  ["quick", "Quick", "Minutes on an ordinary computer: a small encoder. To see what a collection holds."],
  ["paper", "Paper", "Hours, with a GPU: as published, ResNet-18, five rounds of 200 epochs."],
  ["released", "Released", "Hours, with a GPU: as the authors' code has it, where the learning rate falls later and nothing is mirrored."],
];

const BACKBONES = [["", "by the preset"], ["resnet10", "ResNet-10, small"], ["resnet18", "ResNet-18"], ["resnet34", "ResNet-34"],
  ["resnet50", "ResNet-50"]];
const STARTS = [["", "nothing: it learns from these images alone"], ["imagenet", "weights that know ImageNet's photographs"]];

/** Groups of `[name, label, explanation, what the control allows]`: an object is a number's bounds, a list a choice. */
export const GROUPS = [
  ["How long it learns", [
    ["rounds", "Rounds", "The first tells all images apart; each later one brings more look-alikes together. 1 to 20, by default 5.",
      { min: 1, max: 20 }],
    ["epochs_first", "Epochs of round 0", "How often every image is seen in the first round. Quick chooses 8 to 60 by the number of images.",
      { min: 1, max: 10000 }],
    ["epochs", "Epochs of each later round", "Quick: a quarter of the first.", { min: 1, max: 10000 }],
  ]],
  ["What learns", [
    ["backbone", "Encoder", "Larger ones learn more and take longer.", BACKBONES],
    ["init", "Start from", "ImageNet's weights are downloaded and need a ResNet-18 or a larger encoder.", STARTS],
    ["image_size", "Image side, pixels", "What the encoder sees. By default chosen by the images' own size; twice the side takes four times as long.",
      { min: 8, max: 512 }],
  ]],
  ["The method", [
    ["select_rate", "Anchors added each round", "The share of the images, those it is surest of, that each round adds to the anchors. "
      + "0 to 1, by default 0.25.", { min: 0, max: 1, step: 0.01 }],
    ["neighbours", "Neighbours of an anchor", "How many of its nearest others an anchor is pulled to. By default 1.", { min: 1, max: 100 }],
    ["batch_size", "Images a step", "Quick: 32, otherwise 128.", { min: 4, max: 8192 }],
    ["learning_rate", "Learning rate of round 0", "Quick: 0.015, otherwise 0.03. Lower it where the page warns of a collapse.",
      { min: 0.000001, max: 10, step: "any" }],
    ["seed", "Seed", "Decides everything random: the same seed on the same images and the same machine gives the same model.",
      { min: 0, max: 2147483647 }],
  ]],
];
