"""The providers of the parts that train: strategy, model, links, loss, optimizer, scheduler, length and trainer."""
