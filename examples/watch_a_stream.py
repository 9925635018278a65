"""A detector at work: p-values for single images, discoveries for a batch, reasons for both.

python examples/watch_a_stream.py --data mnist --out fashion-mnist --epochs 3 --run runs/stream
"""

import argparse

import numpy as np
import torch

import anogen

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="digits")
    parser.add_argument("--out", default="digits+inversion")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--run", default="runs/stream")
    options = parser.parse_args()
    data, other = anogen.load_data(options.data), anogen.load_data(options.out)
    torch.manual_seed(0)
    run = anogen.fit(anogen.VAE(data.shape), data, options.run, epochs=options.epochs)
    detector = anogen.Detector.fit(run.load_model(), data)

    stream = anogen.Images(
        np.concatenate([data.test.pixels[:90], other.test.pixels[:10]]), "90 in, 10 out"
    )
    alarms = detector.predict(stream, false_positive_rate=0.05)
    found = detector.discover(stream, false_discovery_rate=0.1)
    false, true = alarms[:90].sum(), alarms[90:].sum()
    print(f"alarms at a false-positive rate of 5 %: {false} false, {true} true")
    print(f"discoveries at a false-discovery rate of 10 %: {np.flatnonzero(found).tolist()}")
    why = anogen.explain(detector, stream[-1:], data.train)
    most = max(why.statistics, key=lambda name: why.statistics[name][0])
    print(f"what is strangest about the last image: {most}")
