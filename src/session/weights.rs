//! Weights of a session: drawn, loaded, read, frozen.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::{Session, SessionError};
use crate::backend::Data;
use crate::net::Trained;
use crate::program::{Program, Slot};
use crate::session::layout::Layout;
use crate::tensor::Tensor;

/// The part of a whole tensor that this rank has.
fn own<'t>(trained: &Trained, tensor: &'t Tensor) -> Cow<'t, [f32]> {
    trained.cut.as_ref().map_or(Cow::Borrowed(tensor.values()), |cut| Cow::Owned(cut.part(tensor.values())))
}

impl Session {
    /// Draws initial weights; the optimiser's states become 0.
    pub fn initialise(&mut self) -> Result<(), SessionError> {
        self.resting.clear();
        for trained in &self.lowered.trained {
            let count = self.lowered.program.slot(trained.value).count();
            self.backend.write(trained.value, Data::F32(&trained.draw(count, self.seed)))?;
            for &state in &trained.states {
                self.backend.write(state, Data::F32(&vec![0.0; count]))?;
            }
        }
        self.forget_trouble()
    }

    /// Loads the weights of some rows by name, without the optimiser's states; of all rows whose tensors are there and
    /// have the network's shapes where `rows` is empty. Gives the names of what was loaded; nothing is written unless
    /// all of the rows asked for fit.
    pub fn load_rows(
        &mut self,
        tensors: &BTreeMap<String, Tensor>,
        rows: &BTreeSet<String>,
    ) -> Result<Vec<String>, SessionError> {
        let mut found = Vec::new();
        for trained in &self.lowered.trained {
            let wanted = rows.contains(self.net.nodes[trained.node].row());
            match self.tensor(tensors, &trained.name, trained) {
                Ok(Some(tensor)) if wanted || rows.is_empty() => found.push((trained, tensor)),
                Ok(None) if wanted => return Err(SessionError::Missing(trained.name.clone())),
                Err(error) if wanted => return Err(error),
                _ => (),
            }
        }
        if found.is_empty() {
            // The first of the network stands for all of them.
            let name = self.lowered.trained.first().map_or_else(String::new, |trained| trained.name.clone());
            return Err(SessionError::Missing(name));
        }
        let mut names = Vec::with_capacity(found.len());
        for (trained, tensor) in found {
            self.backend.write(trained.value, Data::F32(&own(trained, tensor)))?;
            names.push(trained.name.clone());
        }
        Ok(names)
    }

    /// Loads weights, and the optimiser's states where there are any and the session trains, by name. Nothing is
    /// written unless all of it fits.
    pub fn load(&mut self, tensors: &BTreeMap<String, Tensor>) -> Result<(), SessionError> {
        let mut found = Vec::new();
        for trained in &self.lowered.trained {
            let value = self.tensor(tensors, &trained.name, trained)?;
            found.push((trained.value, trained, value.ok_or_else(|| SessionError::Missing(trained.name.clone()))?));
            for &slot in &trained.states {
                let name = &self.lowered.program.slot(slot).name;
                found.extend(self.tensor(tensors, name, trained)?.map(|tensor| (slot, trained, tensor)));
            }
        }
        for (slot, trained, tensor) in found {
            self.backend.write(slot, Data::F32(&own(trained, tensor)))?;
        }
        self.resting = self.states_at_rest(tensors)?;
        self.forget_trouble()
    }

    /// Of the optimiser's states in `tensors` those of frozen tensors; states of 0 are as good as none.
    fn states_at_rest(&self, tensors: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>, SessionError> {
        let mut resting = BTreeMap::new();
        for trained in self.lowered.trained.iter().filter(|trained| self.job.training && trained.gradient.is_none()) {
            for state in self.net.model.train.optimizer.kind.states {
                let name = format!("{}.{state}", trained.name);
                if let Some(tensor) = self.tensor(tensors, &name, trained)?
                    && tensor.values().iter().any(|value| *value != 0.0)
                {
                    resting.insert(name, tensor.clone());
                }
            }
        }
        Ok(resting)
    }

    fn tensor<'t>(
        &self,
        tensors: &'t BTreeMap<String, Tensor>,
        name: &str,
        trained: &Trained,
    ) -> Result<Option<&'t Tensor>, SessionError> {
        let Some(tensor) = tensors.get(name) else { return Ok(None) };
        let wanted = self.shape(trained);
        if tensor.shape() == wanted {
            return Ok(Some(tensor));
        }
        Err(SessionError::Shape { name: name.into(), found: tensor.shape().to_vec(), wanted })
    }

    /// The shape of a trained tensor, of which this rank may have a part.
    fn shape(&self, trained: &Trained) -> Vec<usize> {
        let mut shape = self.lowered.program.slot(trained.value).shape.clone();
        if let (Some(cut), Some(last)) = (&trained.cut, shape.last_mut()) {
            *last = cut.outputs;
        }
        shape
    }

    /// Weights, and the optimiser's states where the session trains, by name; those of frozen tensors as they were
    /// left. Ranks that share layers all ask at once.
    pub fn tensors(&mut self) -> Result<BTreeMap<String, Tensor>, SessionError> {
        let mut tensors = BTreeMap::new();
        for trained in self.lowered.trained.clone() {
            for slot in [&[trained.value], &trained.states[..]].concat() {
                let name = self.lowered.program.slot(slot).name.clone();
                tensors.insert(name, self.read(&trained, slot)?);
            }
        }
        tensors.extend(self.resting.clone());
        Ok(tensors)
    }

    /// The gradients of the last [`Session::gradients`] before [`Session::update`], by the names of the weights.
    pub fn gradient_tensors(&mut self) -> Result<BTreeMap<String, Tensor>, SessionError> {
        let inverse = self.loss_scale()?.map_or(1.0, |loss| 1.0 / loss.scale);
        let mut gradients = BTreeMap::new();
        for trained in self.lowered.trained.clone() {
            let Some(slot) = trained.gradient else { continue };
            let scaled = self.read(&trained, slot)?;
            let values = scaled.values().iter().map(|value| value * inverse).collect();
            gradients.insert(trained.name, Tensor::new(scaled.shape(), values));
        }
        Ok(gradients)
    }

    /// The whole of a tensor that is cut as `trained` is.
    fn read(&mut self, trained: &Trained, slot: Slot) -> Result<Tensor, SessionError> {
        let values = self.backend.read(slot)?;
        Ok(Tensor::new(self.shape(trained), self.whole(trained.cut.as_ref(), values)?))
    }

    /// What is frozen: rows, or `conv1.weights` and `conv1.bias`.
    pub fn frozen(&self) -> &BTreeSet<String> {
        &self.frozen
    }

    /// Leaves the weights of these rows as they are from now on, and trains those of all others. The network is set up
    /// anew, without what they and the layers below them no longer need; weights stay, and so do the optimiser's
    /// states: those of what is frozen wait until it is trained again, as the released code kept them at a rate of 0.
    pub fn freeze(&mut self, rows: &BTreeSet<String>) -> Result<(), SessionError> {
        if *rows == self.frozen {
            return Ok(());
        }
        let (tensors, loss_scale) = (self.tensors()?, self.loss_scale()?);
        let mean = self.lowered.source.stored().map(|stored| self.backend.read(stored.mean)).transpose()?;
        self.net.freeze(rows)?;
        // Frees the memory of the old program first.
        self.backend = self.devices.set_up(&Program::default())?;
        let layout = Layout::new(&self.net, &self.job, &self.devices.limits(self.net.model.towers))?;
        self.backend = self.devices.set_up(&layout.lowered.program)?;
        self.lowered = layout.lowered;
        self.connect();
        (self.rates, self.score, self.unread) = (None, None, None);
        self.frozen.clone_from(rows);
        self.load(&tensors)?;
        loss_scale.map_or(Ok(()), |scale| self.set_loss_scale(scale))?;
        mean.map_or(Ok(()), |mean| self.set_mean(&mean))
    }
}
