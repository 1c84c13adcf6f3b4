"""Layers and distributions; nothing here knows what reinforcement learning is."""

from sobolev.nn.batching import over as over
from sobolev.nn.convolution import Convolution as Convolution
from sobolev.nn.convolution import ConvolutionStage as ConvolutionStage
from sobolev.nn.distributions import BoundedNormal as BoundedNormal
from sobolev.nn.distributions import TwoHot as TwoHot
from sobolev.nn.distributions import bernoulli_loss as bernoulli_loss
from sobolev.nn.distributions import entropy as entropy
from sobolev.nn.distributions import kl_divergence as kl_divergence
from sobolev.nn.distributions import probabilities as probabilities
from sobolev.nn.distributions import sample_one_hot as sample_one_hot
from sobolev.nn.distributions import symexp as symexp
from sobolev.nn.distributions import symlog as symlog
from sobolev.nn.layers import MLP as MLP
from sobolev.nn.layers import NORM_EPSILON as NORM_EPSILON
from sobolev.nn.layers import BlockLinear as BlockLinear
from sobolev.nn.layers import Head as Head
from sobolev.nn.layers import Hidden as Hidden
from sobolev.nn.layers import Linear as Linear
from sobolev.nn.layers import Norm as Norm
from sobolev.nn.layers import at_least_float32 as at_least_float32
from sobolev.nn.layers import cast_floating as cast_floating
from sobolev.nn.layers import product as product
from sobolev.nn.perceptron import Perceptron as Perceptron
from sobolev.nn.recurrence import recurrence as recurrence
